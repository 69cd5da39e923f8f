"""Every TRUTH line of every recorded AMI session is what is stored, or has a reason why it cannot.

Where no event tells (a reload, IAX2 registrations), it is what is stored after the state was asked
for again.
"""

import re
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from collector.asterisk_names import Names
from tests.ami_answers import fresh, later
from tests.ami_claims import Claim, Unchecked
from tests.ami_replay import NS, START_NS, Replay, Stored, replay
from tests.ami_truths import read_truths
from tools.replay.captures import AMI, Capture, Remark, read_capture


@dataclass(slots=True)
class _Asking:
    """Asks again, in the place of a client, where the state says that it should or polls."""

    capture: Capture
    asked: Counter[str] = field(default_factory=Counter)

    def look(self, done: Replay, remark: Remark) -> None:
        if not remark.text.startswith("poll contacts="):
            return
        now = START_NS + round(remark.at * NS)
        for why, wanted in (("stale", "PJSIP"), ("polled", "IAX")):
            if why == "stale" and not any("PJSIP" in one for one in done.state.stale):
                continue
            for one in later(self.capture, remark.text):
                if one.action.startswith(wanted):
                    done.state.answer(one.action, one.message, one.items, now)
            self.asked[why] += 1
        done.state.asked(now)
        done.flush(remark.at)


def names_of(capture: Capture) -> Names:
    """A name for each phone whose speech is measured, so that its reports can be told apart."""
    phones = re.findall(r"media of (\S+) \(", "\n".join(capture.description))
    return Names(trunks={f"PJSIP/{phone}": phone for phone in phones})


def _before(done: Replay, at: float) -> Stored:
    times = [one.at for one in done.moments]
    return done.moments[max(0, bisect_right(times, at) - 1)]


def fails(done: Replay, claim: Claim) -> bool:
    before = None if claim.since is None else _before(done, claim.since)
    return not any(claim.holds(one, before) for one in done.around(claim.at, claim.within))


@pytest.mark.parametrize("path", AMI, ids=lambda path: path.name.split("-")[0])
def test_each_truth_is_stored_or_has_a_reason(path: Path) -> None:
    capture = read_capture(path)
    asking = _Asking(capture)
    done = replay(capture, fresh(capture), names_of(capture), asking.look)
    read = list(read_truths(capture))
    claims = [one for one in read if isinstance(one, Claim)]
    reasons = Counter(one.reason for one in read if isinstance(one, Unchecked))
    wrong = [f"{one.at} {one.what}" for one in claims if fails(done, one)]
    assert not wrong, "\n".join(wrong[:40])
    assert claims or reasons
    # Only a reload is not told by events of PJSIP.
    reloads = sum("module reload res_pjsip" in one.text for one in capture.remarks)
    assert asking.asked["stale"] <= 2 * reloads


def test_truths_fail_where_events_are_left_out() -> None:
    for session, event, word in (
        ("02a", "Hangup", "channels"),
        ("03", "QueueCallerLeave", "waiting"),
        ("03", "QueueMemberPause", "paused"),
        ("05", "ContactStatus", "pjsip_contacts"),
        ("06", "FailedACL", "FailedACL"),
        ("07", "RTCPSent", "lost received"),
        ("08", "DTMFEnd", "dtmf"),
    ):
        (path,) = (path for path in AMI if path.name.startswith(session))
        capture = read_capture(path)
        done = replay(capture, fresh(capture), names_of(capture), without={event})
        wrong = [one for one in read_truths(capture) if isinstance(one, Claim) and fails(done, one)]
        assert any(word in one.what for one in wrong), (session, event)
