"""Recorded sessions of AMI become points whose counts are what was true."""

from tests.ami_replay import Replay, replay
from tools.replay.captures import AMI, read_capture


def _replayed(name: str) -> Replay:
    (path,) = (path for path in AMI if path.name.startswith(name))
    return replay(read_capture(path))


def test_calls_are_counted_by_outcome_as_the_phones_saw_them() -> None:
    stored = _replayed("02a").last
    assert stored.total("calls", "started") == 37  # one of 38 went to a number that is not there
    assert stored.total("calls", "answered") == 17
    assert stored.by("calls", "ended", "outcome") == {
        ("answered",): 17,
        ("busy",): 5,
        ("failed",): 10,
        ("no_answer",): 4,
        ("cancelled",): 1,
    }


def test_queues_are_counted_as_the_cli_counted_them() -> None:
    stored = _replayed("03").last
    for name, support, sales in (
        ("entered", 9, 3),
        ("answered", 7, 3),
        ("abandoned", 2, 0),
        ("completed", 7, 3),
        ("timed_out", 0, 0),
        ("left_by_key", 0, 0),
        ("lost", 0, 0),
    ):
        assert stored.total("queues", name, queue="support") == support, name
        assert stored.total("queues", name, queue="sales") == sales, name
