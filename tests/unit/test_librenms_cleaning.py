from __future__ import annotations

import ipaddress
import random
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from collector.intakes.librenms.cleaning import MOST_TEXT, cleaned

REMOVED = (
    ("Linux fw1.corp.example.org 5.10.0-8-amd64 #1 SMP", "Linux hostname 5.10.0-8-amd64 #1 SMP"),
    ("Linux fw_1 6.1.0-21-amd64 x86_64", "Linux hostname 6.1.0-21-amd64 x86_64"),
    ("Darwin Annas-Mac.local 23.4.0 Darwin Kernel", "Darwin hostname 23.4.0 Darwin Kernel"),
    ("SunOS zfs01 5.11 11.4.0.15.0 i86pc", "SunOS hostname 5.11 11.4.0.15.0 i86pc"),
    ("pfSense fw1 2.7.0-RELEASE FreeBSD 14.0", "pfSense hostname 2.7.0-RELEASE FreeBSD 14.0"),
    ("OpenBSD gw 7.4 GENERIC.MP#1397 amd64", "OpenBSD hostname 7.4 GENERIC.MP#1397 amd64"),
    ("HP-UX bigbox B.11.31 U ia64", "HP-UX hostname B.11.31 U ia64"),
    (
        "FreeBSD gw.example.com 12.2-RELEASE root@build.example.com:/usr/obj amd64",
        "FreeBSD hostname 12.2-RELEASE user@hostname:/usr/obj amd64",
    ),
    ("System Name: core-sw-3, rack 4", "System Name: hostname, rack 4"),
    ("sysname=gw1; up", "sysname=hostname; up"),
    ("node gw.noc.example.se, db.py.example.pl", "node hostname, hostname"),
    ("seen at switch7.lab.internal now", "seen at hostname now"),
    ("mail anna@example.org", "mail user@hostname"),
    ("host 10.1.2.3 port 161", "host 0.0.0.0 port 161"),
    ("at 192.0.2.77:161", "at 0.0.0.0:161"),
    ("at 2001:db8::1 and fe80::1%eth0 end", "at :: and :: end"),
    ("MAC 00:1A:2b:3c:4d:5e", "MAC 00:0A:0a:0a:0a:0a"),
    ("port 001a.2b3c.4d5e up", "port 000a.0a0a.0a0a up"),
    ("SN: 5A1234E12345 MD:03/18/2012", "SN: 0A0000A00000 MD:03/18/2012"),
    ("HP ETHERNET,SN:CNB1234567,FN:ABC", "HP ETHERNET,SN:AAA0000000,FN:ABC"),
    ("Serial Number: FOC1234X5YZ", "Serial Number: AAA0000A0AA"),
    ("serial num FOC1234X5YZ", "serial num AAA0000A0AA"),
    ("s/n 00ABC-12.3", "s/n 00AAA-00.0"),
    ("SN12345678", "SN00000000"),
    ("Service Tag: 7XYZ123", "Service Tag: 0AAA000"),
    ("id 5f0c8b1e-8a43-4c6e-9d1a-2b7f6e0c4a11", "id 0a0a0a0a-0a00-0a0a-0a0a-0a0a0a0a0a00"),
)
KEPT = (
    "Linux hostname 5.4.0-42-generic #46-Ubuntu SMP Fri Jul 10 00:24:02 UTC 2020 x86_64",
    "Cisco IOS Software, C3750 Software (C3750-IPSERVICESK9-M), Version 12.2(55)SE5, RELEASE"
    " SOFTWARE (fc1)\r\nTechnical Support: http://www.cisco.com/techsupport\r\nCompiled Thu"
    " 09-Feb-12 19:22 by prod_rel_team",
    "Hardware: Intel64 Family 6 Model 79 Stepping 1 AT/AT COMPATIBLE - Software: Windows Version"
    " 6.3 (Build 17763 Multiprocessor Free)",
    "Juniper Networks, Inc. ex2200-48t-4g Ethernet Switch, kernel JUNOS 12.3R12.4, Build date:"
    " 2016-01-20 05:03:35 UTC",
    "GENERIC.MP kernel libfoo.so tool.py image.tar.gz",
    "RouterOS CCR1009-7G-1C-1S+",
    "Brother NC-8300h, Firmware Ver.1.04 (11.08.03),MID 8C5-H45,FID 2",
    "Version 10.2.0.35, FW: 1.2.3.4",
    "SNMP agent with serial console",
    "flash:/c2960-lanbasek9-mz.150-2.SE.bin",
    "Ubiquiti UniFi UAP-AC-Lite 4.3.28.11361",
    "AT&T 100% C++ a=b 12:30:45",
    "1.3.6.1.4.1.9.9.147.1.2.2.2.1.5.40.6",
)


@pytest.mark.parametrize(("text", "wanted"), REMOVED)
def test_names_addresses_and_serial_numbers_are_removed(text: str, wanted: str) -> None:
    assert cleaned(text) == wanted


@pytest.mark.parametrize("text", KEPT)
def test_what_tells_devices_apart_stays(text: str) -> None:
    assert cleaned(text) == text


@given(st.text(max_size=300))
@example("\x00\x1b[31m\ud800")
def test_cleaned_text_is_printable_and_clean_already(text: str) -> None:
    found = cleaned(text)
    assert all(c.isprintable() or c in "\t\r\n" for c in found)
    assert len(found) <= 4 * MOST_TEXT


@given(st.ip_addresses(), st.sampled_from(("at {} up", "({})", "{},x", "a={} b", "\r\n{}")))
def test_no_address_survives(address: ipaddress.IPv4Address, around: str) -> None:
    found = cleaned(around.format(address))
    assert str(address) not in found or int(address) == 0


def test_no_text_takes_long() -> None:
    rng = random.Random(1)
    hard = [
        "a." * 5000,
        "Linux " * 2000,
        "1." * 5000,
        ":" * 5000,
        "a@" * 5000,
        "name:" * 2000,
        "sn " * 3000,
        "0-" * 5000,
        "".join(rng.choices("sn:. aA1@-", k=10_000)),
    ]
    begun = time.process_time()
    for text in hard:
        cleaned(text)
    assert time.process_time() - begun < 2
