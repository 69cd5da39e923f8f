"""The dialplan of docs/senders/asterisk-statsd.md keeps the rules that the page gives."""

from __future__ import annotations

import re
from collections import defaultdict

from tools.dashboards.asked import ROOT

PAGE = (ROOT / "docs/senders/asterisk-statsd.md").read_text(encoding="utf-8")


def contexts() -> dict[str, list[str]]:
    """The lines of the page's dialplan by context."""
    found: dict[str, list[str]] = defaultdict(list)
    name = ""
    for line in PAGE.partition("## The dialplan")[2].splitlines():
        if started := re.fullmatch(r"    \[([\w-]+)\]", line):
            name = started[1]
        elif re.match(r"    (exten|    ?same| same) =>", line):
            found[name].append(line.strip())
    return found


def test_every_statsd_of_the_page_is_tried_and_has_no_blank() -> None:
    lines = [line for each in contexts().values() for line in each if "StatsD(" in line]
    assert len(lines) > 12
    for line in lines:
        assert re.search(r"TryExec\(StatsD\([a-z]+,[^ ,]+,\S+\)\)", line), line
        # A name never holds what a caller can choose.
        name = line.partition("StatsD(")[2].split(",")[1]
        assert "CALLERID" not in name, line
        assert "EXTEN" not in name, line


def test_a_gauge_is_counted_down_at_the_end_of_the_channel_or_as_a_call_is_taken() -> None:
    dialplan = contexts()
    pushed = {
        name
        for lines in dialplan.values()
        for line in lines
        for name in re.findall(r"hangup_handler_push\)=([\w-]+),s,1", line)
    }
    assert pushed == {"conference-left", "queue-gone", "trunk-free"}
    taken = {
        name
        for lines in dialplan.values()
        for line in lines
        if "Queue(" in line
        for name in [line.rstrip(")").rpartition(",")[2]]
    }
    assert taken == {"queue-answered"}
    up: dict[str, int] = defaultdict(int)
    for context, lines in dialplan.items():
        for line in lines:
            for name, sign in re.findall(r"StatsD\(g,([\w.]+),([+-])1\)", line):
                if sign == "+":
                    up[name] += 1
                    assert context not in pushed | taken
                else:
                    assert context in pushed | taken, line
    assert up == {"confBridgeUsers": 1, "queue.support.waiting": 1, "trunk.in_use": 1}
    # What a taken call has counted down, its hangup handler does not count down again.
    assert dialplan["queue-gone"][0].startswith('exten => s,1,GotoIf($["${TAKEN}"!=""]?')
    assert "TAKEN" in dialplan["queue-answered"][0]
