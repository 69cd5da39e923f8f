"""Recordings are read whole: every line is a description, bytes, or a word on the connection."""

import re
from pathlib import Path

import pytest

from tools.replay.captures import AMI, Way, read_capture


def test_recorded_reads_are_as_many_bytes_as_the_recording_says() -> None:
    assert AMI
    for path in AMI:
        capture = read_capture(path)
        said = re.search(r"reads: (\d+), bytes: (\d+)", "\n".join(capture.description))
        assert said is not None, path
        reads = list(capture.received())
        assert (len(reads), sum(len(data) for _, data in reads)) == (int(said[1]), int(said[2]))
        assert capture.truths()
        assert capture.traffic[0].way is Way.CONNECTION
        assert all(b"\r\n" in one.data for one in capture.traffic if one.way is Way.OUT)


def test_line_that_is_no_recording_is_an_error(tmp_path: Path) -> None:
    for wrong in ("1.0 b''", "1.0\t'text'", "1.0\tb'", "x\tb''"):
        path = tmp_path / "wrong.txt"
        path.write_text(f"# name\n0.5\tb'a'\n{wrong}\n", encoding="utf-8")
        with pytest.raises((ValueError, SyntaxError)):
            read_capture(path)
