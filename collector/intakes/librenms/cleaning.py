"""Removes host names, addresses and serial numbers from texts of devices. Pure.

Clients clean sysDescr by narrower rules, and old ones not at all. When in doubt, text is removed: a
text that loses a number is still useful, a text that names a machine must not be stored. Each part
is replaced by one of the same form, so that patterns match the cleaned text as they matched the
original: `hostname`, `0.0.0.0`, and in serial numbers `A`, `a` and `0` for each letter and digit.
Every pattern takes time linear in the text.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Final

MOST_TEXT: Final = 1024
"""Longest text that is stored; sysDescr has at most 255 characters by its definition (RFC 3418)."""

HOST: Final = "hostname"

_LINE_BREAKS: Final = "\t\n\r"

_KERNELS: Final = (
    "Linux|Darwin|FreeBSD|OpenBSD|NetBSD|DragonFly|SunOS|AIX|HP-UX|IRIX64|IRIX|OSF1|QNX|GNU|Minix"
    "|UnixWare|pfSense|OPNsense|CYGWIN\\S*"
)
# `uname -a` and Net-SNMP: the kernel's name, the host's name, the kernel's release.
_UNAME: Final = re.compile(rf"\b({_KERNELS})(\s+)(\S{{1,255}})(?=\s+(?:[vV]?[0-9]|B\.))")
_NAMED: Final = re.compile(
    r"\b((?:host|sys|system|node|device|router|switch)[ _-]?name|location|contact)"
    r"(\s{0,3}[:=]\s{0,3})([^\s,;][^,;\r\n]{0,255})",
    re.IGNORECASE,
)
_USER_AT_HOST: Final = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w.-]{1,255}")
_TLD: Final = (
    "com|net|org|edu|gov|mil|int|info|biz|name|pro|arpa|aero|coop|museum|cloud|online|site|tech|app"
    "|dev|io|ai|me|tv|eu|local|localdomain|lan|home|internal|intern|corp|intra|intranet|private"
    "|domain|test|example|invalid|localhost|onion|(?!gz|xz|ko)[a-z]{2}"
)
_DOMAIN: Final = re.compile(
    r"(?<![\w.@-])(?!www\.)((?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})\.){1,8}"
    rf"(?:{_TLD}))(?![\w-])(?!\.\w)",
    re.IGNORECASE,
)
_FILES: Final = frozenset({"so", "js", "py", "sh", "md", "pl"})
"""Two-letter endings that are a file's extension rather than a country's domain, after one word."""
_SERIAL_WORD: Final = (
    r"(?<![A-Za-z0-9])(s/?n|serial(?:[ _-]?(?:number|num|no|nr))?|service[ _-]?tag"
    r"|asset[ _-]?tag|(?:chassis|board|system|product|unit|licen[cs]e|host)[ _-]?"
    r"(?:id|serial|key)|hostid|uuid|imei|imsi|iccid|mac(?:[ _-]?addr(?:ess)?)?)(?![A-Za-z])\.?"
)
_SERIAL: Final = re.compile(
    rf"{_SERIAL_WORD}([ \t]{{0,3}}[:=#]?[ \t]{{0,3}}|[ \t]is[ \t])"
    r"([A-Za-z0-9](?:[A-Za-z0-9./_-]{2,63}))",
    re.IGNORECASE,
)
_SERIAL_JOINED: Final = re.compile(r"(?<![A-Za-z0-9])(S/?N)(\d[A-Za-z0-9-]{3,63})")
_UUID: Final = re.compile(r"\b[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\b")
_MAC: Final = re.compile(
    r"(?<![0-9A-Fa-f:.-])(?:[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}"
    r"|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4})(?![0-9A-Fa-f:.-])"
)
_IPV4: Final = re.compile(r"(?<![\w.])(\d{1,3}(?:\.\d{1,3}){3})(?![\w]|\.\d)")
_IPV6: Final = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{2,39}(?:\.\d{1,3}){0,3}(?:%\w{1,15})?(?![\w:])")
# A number of four parts after one of these is a version.
_VERSION_BEFORE: Final = re.compile(
    r"(?:\b(?:v|ver|vers|version|release|rel|rev|revision|firmware|fw|sw|hw|software|build|os"
    r"|ios|image|bootcode|bootloader|boot|bios|kernel|uboot|u-boot|agent|patch|code|runtime"
    r"|sdk|package|loader|driver|microcode|enhanced|standard)\s{0,3}[:=_(-]?\s{0,3}v?)$",
    re.IGNORECASE,
)
_LOOK_BACK: Final = 24
_OCTETS: Final = 255


@lru_cache(maxsize=8192)
def cleaned(text: str) -> str:
    """A text with host names, addresses and serial numbers replaced.

    Line breaks and tabs stay, since they are part of a sysDescr; other unprintable characters
    become blanks. Text past `MOST_TEXT` characters is cut.
    """
    text = "".join(c if c.isprintable() or c in _LINE_BREAKS else " " for c in text[:MOST_TEXT])
    text = _UNAME.sub(lambda found: f"{found[1]}{found[2]}{HOST}", text)
    text = _NAMED.sub(lambda found: f"{found[1]}{found[2]}{HOST}", text)
    text = _USER_AT_HOST.sub(f"user@{HOST}", text)
    text = _UUID.sub(lambda found: _form(found[0]), text)
    text = _MAC.sub(lambda found: _form(found[0]), text)
    text = _SERIAL.sub(_serial, text)
    text = _SERIAL_JOINED.sub(lambda found: found[1] + _form(found[2]), text)
    text = _IPV6.sub(_ipv6, text)
    text = _IPV4.sub(_ipv4, text)
    return _DOMAIN.sub(_domain, text)


def _form(text: str) -> str:
    """A text with `A`, `a` and `0` in place of its letters and digits."""
    return "".join(
        "0" if c.isdigit() else "A" if c.isupper() else "a" if c.isalpha() else c for c in text
    )


def _serial(found: re.Match[str]) -> str:
    word, between, value = found[1], found[2], found[3]
    # Without a mark between, only text with a digit is a number: `serial console` is not.
    if not any(c in between for c in ":=#") and not any(c.isdigit() for c in value):
        return found[0]
    return word + between + _form(value)


def _ipv4(found: re.Match[str]) -> str:
    parts = found[1].split(".")
    if any(int(part) > _OCTETS or (len(part) > 1 and part[0] == "0") for part in parts):
        return found[0]
    before = found.string[max(0, found.start() - _LOOK_BACK) : found.start()]
    return found[0] if _VERSION_BEFORE.search(before) else "0.0.0.0"  # noqa: S104 - no address


def _ipv6(found: re.Match[str]) -> str:
    text = found[0]
    if text.count(":") < 2:
        return text
    try:
        ipaddress.IPv6Address(text.partition("%")[0])
    except ValueError:
        return text
    return "::"


def _domain(found: re.Match[str]) -> str:
    *labels, ending = found[1].split(".")
    if len(ending) == 2:
        # `GENERIC.MP`, `150-2.SE` and `tool.py` name no machine.
        is_word = len(labels) == 1 and (ending.lower() in _FILES or not ending.islower())
        if is_word or not any(c.isalpha() for c in labels[-1]):
            return found[0]
    return HOST
