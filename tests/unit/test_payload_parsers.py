"""Payload parsers: what each reads out of a payload, and how one is chosen."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from collector.metrics import Metrics
from collector.records.parsers import Parsed
from collector.records.parsers.crash import Crash
from collector.records.parsers.machine_check import MachineCheck
from collector.records.parsers.never_guilty import NeverGuilty
from collector.records.parsers.oops import Oops
from collector.records.parsers.registry import FAILED, NOTHING, Parsers, installed
from collector.records.parsers.thermal import Thermal
from collector.records.parsers.updates import Updates
from collector.records.recompute import Recompute
from collector.records.store import RecordsStore
from collector.records.tables import FINDINGS
from collector.settings import Settings
from tests.records import record_of

HEAD = "Process: /usr/bin/gnome-shell\nPID: 517\nSignal: 11\n\nBacktrace (TID 517):\n"
SETTINGS = Settings()


def trace(*frames: str) -> str:
    return HEAD + "".join(f"#{n} {frame}\n" for n, frame in enumerate(frames))


CRASHES = {
    "the first frame": (
        trace("foo() - [libfoo.so.1] - a.c:7", "main() - [x]"),
        "foo - [libfoo.so.1]",
    ),
    "never guilty ones are passed over": (
        trace("raise() - [libc.so.6]", "abort() - [libc.so.6]", "bar() - [x]"),
        "bar - [x]",
    ),
    "one without symbols only if no other is there": (
        trace("??? - [a.so]", "foo() - [x]"),
        "foo - [x]",
    ),
    "none with symbols": (
        trace("abort() - [c]", "??? - [a.so]", "??? - [b]"),
        "??? - [a.so]",
    ),
    "never guilty ones alone: the last": (
        trace("raise() - [libc.so.6]", "abort() - [libc.so.6]"),
        "abort - [libc.so.6]",
    ),
    "other threads do not count": (
        trace("abort() - [c]") + "\nBacktrace (TID 518):\n#0 foo() - [x]\n",
        "abort - [c]",
    ),
    "no symbols at all": (HEAD + "#0 (no symbols)\n", "???"),
    "names of C++": (trace("ns::T<int>::f(int)() - [x]"), "ns::T<int>::f(int) - [x]"),
}


def parsed(parser: Any, text: str) -> Parsed:
    found = parser.parse(text)
    assert isinstance(found, Parsed)
    return found


@pytest.mark.parametrize("case", sorted(CRASHES))
def test_crash_finds_the_guilty_frame(case: str) -> None:
    text, label = CRASHES[case]
    found = parsed(Crash(SETTINGS), text)
    assert (found.kind, found.label) == ("crash", label)
    assert (found.detail["process"], found.detail["signal"]) == ("/usr/bin/gnome-shell", "11")


def test_crash_with_a_hundred_frames_finds_another_guilty_after_the_list_changes(
    tmp_path: Path,
) -> None:
    listed = tmp_path / "never.txt"
    listed.write_text("# none\n")
    crash = Crash(SETTINGS.model_copy(update={"telemetrics_never_guilty": str(listed)}))
    text = trace(*(f"f{number}() - [lib{number % 3}.so]" for number in range(100)))
    first, version = parsed(crash, text), crash.version
    assert (first.label, len(first.detail["frames"])) == ("f0 - [lib0.so]", 100)
    lines = [*(f"f{number}()" for number in range(60)), "f60 - [lib0.so]", "f61 - [other.so]"]
    listed.write_text("\n".join(lines))
    os.utime(listed, (1, 1))
    crash._never.refresh(force=True)  # noqa: SLF001 - otherwise a test waits for 2 s
    assert crash.version != version
    assert parsed(crash, text).label == "f61 - [lib1.so]"


def test_list_that_cannot_be_read_stays_as_it_was(tmp_path: Path) -> None:
    listed = tmp_path / "never.txt"
    listed.write_text("foo\nbar - [x.so]\n")
    never = NeverGuilty(str(listed))
    listed.unlink()
    never.refresh(force=True)
    assert never.holds(("foo", "any"))
    assert never.holds(("bar", "x.so"))
    assert not never.holds(("bar", "y.so"))
    assert NeverGuilty("").holds(("abort", "libc.so.6"))


OOPSES = {
    "of the probe": (
        "Crash Report:\nReason: BUG: unable to handle page fault\n\nBacktrace :\n"
        "#1 dump_stack - [kernel]\n#2 i915_gem - [i915]\n",
        "i915_gem - [i915]",
        "BUG: unable to handle page fault",
    ),
    "of the kernel's log": (
        "[  1.5] WARNING: CPU: 3 PID: 1 at drivers/x.c:1 foo_init+0x10/0x20\n"
        "[  1.5] RIP: 0010:foo_init+0x12/0x20 [foo]\n"
        "[  1.5] Call Trace:\n[  1.5]  ? doubtful+0x1/0x2\n[  1.5]  bar_probe+0x1a/0x30 [bar]\n",
        "foo_init - [kernel]",
        "WARNING: CPU: 3 PID: 1 at drivers/x.c:1 foo_init+0x10/0x20",
    ),
    "a reason alone": ("Reason: Kernel panic - not syncing\n", "Kernel panic - not syncing", None),
}


@pytest.mark.parametrize("case", sorted(OOPSES))
def test_oops_finds_reason_and_guilty(case: str) -> None:
    text, label, reason = OOPSES[case]
    found = parsed(Oops(SETTINGS), text)
    assert (found.kind, found.label) == ("oops", label)
    if reason is not None:
        assert found.detail["reason"] == reason


def test_machine_check_reads_bank_and_status() -> None:
    text = (
        "Hardware event. This is not a software error.\nMCE 0\nCPU 2 BANK 4 TSC 1\nTIME 150\n"
        "MCG status:\nMCi status:\nCorrected error\nMCA: BUS error\n"
        "STATUS 8c00004000010090 MCGSTATUS 0\nMCGCAP c09 APICID 0 SOCKETID 1\n"
    )
    found = parsed(MachineCheck(SETTINGS), text)
    assert found.label == "bank 4 status 8c00004000010090"
    assert found.detail == {
        "cpu": 2,
        "bank": 4,
        "socket": 1,
        "status": "8c00004000010090",
        "error": "Corrected error",
    }
    assert MachineCheck(SETTINGS).parse("nothing of the kind") is None


def test_thermal_event_tells_heat_from_its_end() -> None:
    heated = "Processor 1 heated above trip temperature. Throttling enabled.\nCPU 3 THERMAL EVENT\n"
    found = parsed(Thermal(SETTINGS), heated)
    assert (found.label, found.detail["processors"]) == ("throttled", [1, 3])
    cooled = parsed(Thermal(SETTINGS), heated + "Processor 1 below trip temperature.\n")
    assert cooled.label == "back to normal"
    assert Thermal(SETTINGS).parse("hello") is None


def test_update_reads_both_versions_and_the_result() -> None:
    found = parsed(
        Updates(SETTINGS), "current_version=2980\nserver_version=2990\nresult=0\ntime=7.5\n"
    )
    assert found.label == "2980 -> 2990"
    assert (found.detail["from"], found.detail["to"], found.detail["result"]) == (
        "2980",
        "2990",
        "0",
    )
    assert Updates(SETTINGS).parse("current_version=1\n") is None


def test_every_shipped_parser_is_installed_and_takes_its_own_classifications() -> None:
    parsers = Parsers(installed(SETTINGS), Metrics())
    for classification, name in (
        ("org.clearlinux/crash/clr", "crash"),
        ("org.clearlinux/kernel/bug", "oops"),
        ("org.clearlinux/mce/corrected", "machine-check"),
        ("org.clearlinux/mce/thermal", "thermal"),
        ("org.clearlinux/swupd-client/update", "updates"),
        ("org.clearlinux/hello/world", "unchanged"),
    ):
        assert parsers.name_for(classification) == name


class Failing:
    prefixes = ("a/",)
    version = "1"

    def parse(self, text: str) -> Parsed | None:
        raise KeyError(text)


def test_parser_that_fails_leaves_the_record_and_counts() -> None:
    metrics = Metrics()
    parsers = Parsers({"failing": Failing()}, metrics)
    found = parsers.find(record_of(1, classification="a/b/c"))
    assert (found.kind, found.label) == (FAILED, "KeyError")
    labels = {"parser": "failing", "outcome": "failed"}
    assert metrics.registry.get_sample_value("collector_payload_parsers_total", labels) == 1
    assert parsers.find(record_of(1)).kind == NOTHING


def test_stored_records_are_parsed_again_when_the_list_or_the_parsers_change(
    tmp_path: Path,
) -> None:
    listed = tmp_path / "never.txt"
    listed.write_text("")
    settings = SETTINGS.model_copy(update={"telemetrics_never_guilty": str(listed)})
    store = RecordsStore("", directory=tmp_path)
    text = trace("foo() - [a]", "bar() - [b]").encode()
    parsers = Parsers(installed(settings), Metrics())
    store.prepare()
    crashes = [
        record_of(n, classification="org.clearlinux/crash/clr", payload=text) for n in range(1, 121)
    ]
    others = [record_of(n, classification="a/b/c") for n in range(200, 210)]
    store.add([*crashes, *others], [parsers.find(one) for one in crashes])

    def again(parsers: Parsers) -> int:
        recompute = Recompute(store, parsers)
        return sum(iter(recompute.step, 0))

    def labels() -> dict[str, int]:
        found: dict[str, int] = {}
        for row in store.rows(FINDINGS.select()):
            name = f"{row['parser']}:{row['label']}"
            found[name] = found.get(name, 0) + 1
        return found

    assert again(parsers) == 10
    assert labels() == {"crash:foo - [a]": 120, "unchanged:": 10}
    assert again(parsers) == 0
    listed.write_text("foo\n")
    changed = Parsers(installed(settings), Metrics())
    assert again(changed) == 120
    assert labels() == {"crash:bar - [b]": 120, "unchanged:": 10}
    more = Parsers({**installed(settings), "failing": Failing()}, Metrics())
    assert again(more) == 130
    assert labels() == {"crash:bar - [b]": 120, "failing:KeyError": 10}
    detail = json.loads(store.rows(FINDINGS.select().where(FINDINGS.c.stamp == 1))[0]["detail"])
    assert detail["frames"] == ["foo - [a]", "bar - [b]"]
    store.close()


class Echo:
    prefixes = ("",)
    version = "1"

    def parse(self, text: str) -> Parsed | None:
        return Parsed("echo", text, {"text": text})


def test_what_is_found_can_be_stored_whatever_the_payload_holds() -> None:
    parsers = Parsers({"echo": Echo()}, Metrics())
    payload = "a\x00b\ud800c".encode("utf-8", "surrogatepass")
    found = parsers.find(record_of(1, payload=payload))
    assert found.label == "a\ufffdb?c"
    assert json.loads(found.detail) == {"text": "a\ufffdb?c"}


@pytest.mark.parametrize("parser", [Crash, MachineCheck, Oops, Thermal, Updates])
def test_parsers_take_large_and_odd_payloads_in_short_time(parser: Any) -> None:
    """None of their patterns takes time that grows faster than the payload."""
    made = parser(SETTINGS)
    size = 300 << 10
    lines = ["#0 " + " - [" * 240, "RIP: " * 190, "a=" + " " * 900 + "b", "", " ", "#1 x - [y]"]
    odd = [f"{line}\n" * (size // (len(line) + 1)) for line in lines]
    odd += [word * (size // len(word)) for word in (" ", "a", "= ", "CPU 1 ", "[", "BUG ", " - [")]
    odd.append(f"Reason: a{' ' * size}b")
    for text in odd:
        begun = time.process_time()
        made.parse(text)
        assert time.process_time() - begun < 2, text[:10]
