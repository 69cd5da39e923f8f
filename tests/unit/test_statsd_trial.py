"""`collector statsd try`: what a file of datagrams would become."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.intakes.statsd.aggregate import Aggregator
from collector.intakes.statsd.mapping import shipped
from collector.intakes.statsd.trial import Arrived, NotCaptured, arrivals, flushes
from collector.lines import parse
from tests.command import Done, command
from tools.replay.captures import STATSD, read_capture

T = 1_764_000_000 * 10**9


def test_plain_lines_and_captured_ones_are_told_apart() -> None:
    lines = [
        b"# a comment\n",
        b"\n",
        b"calls:1|c\r\n",
        b"1.250\tb'a:1|c\\nb:2|g'\n",
        b'2.5\tb"it\'s:1|c"\n',
        b"late:1|c\n",
        b"tab\tin a name:1|c\n",
        b"7\tno bytes:1|c\n",
    ]
    assert list(arrivals(lines)) == [
        Arrived(0, b"calls:1|c"),
        Arrived(1_250_000_000, b"a:1|c\nb:2|g"),
        Arrived(2_500_000_000, b"it's:1|c"),
        Arrived(2_500_000_000, b"late:1|c"),
        Arrived(2_500_000_000, b"tab\tin a name:1|c"),
        Arrived(2_500_000_000, b"7\tno bytes:1|c"),
    ]


def test_every_capture_is_read_as_it_was_recorded() -> None:
    for path in STATSD:
        with path.open("rb") as file:
            found = [(one.at_ns, one.datagram) for one in arrivals(file)]
        assert found == [(round(at * 10**9), data) for at, data in read_capture(path).received()], (
            path.name
        )


def test_broken_bytes_of_a_capture_are_named_by_their_line() -> None:
    for broken in (b"1\tb'\\x'", b"1\tb'a' b'c' 'd'", b"1\tb'a'+b'b'"):
        with pytest.raises(NotCaptured, match="line 2: "):
            list(arrivals([b"a:1|c", broken]))


def test_capture_goes_through_the_flushes_that_it_would_have_had() -> None:
    arrived = [Arrived(at * 10**9, b"calls:1|c") for at in (0, 5, 9, 10, 31)]
    found = list(flushes(Aggregator("a", shipped()), arrived, begun_ns=T, interval_s=10))
    calls = [
        [point.fields["value"] for point in points if point.measurement == "statsd_counter"]
        for points in found
    ]
    assert calls == [[3.0], [1.0], [], [1.0]]
    assert {point.time for point in found[-1]} == {T + 40 * 10**9}


def tried(tmp_path: Path, text: str, *options: str | Path) -> Done:
    file = tmp_path / "datagrams"
    file.write_text(text)
    return command({"COLUMNS": "200"}, "statsd", "try", file, *options)


def test_command_shows_series_and_what_is_dropped_and_stores_nothing(tmp_path: Path) -> None:
    text = "calls:1|c\ncalls:2|c|T1656581400\nx\n_e{1,1}:a|b\nwait:5|ms\nchannels.count:-1|g\n"
    done = tried(tmp_path, text)
    assert done.code == 0, done.err
    words = " ".join(done.out.split())
    assert "statsd_counter name=calls value=3" in words
    assert "statsd_timer name=wait count=1 sum=5 mean=5" in words
    assert "4 samples taken" in words
    assert "1 dropped: event" in words
    assert "1 dropped: malformed" in words
    assert "1 with a part ignored: timestamp" in words
    assert [path.name for path in tmp_path.iterdir()] == ["datagrams"]


def test_name_that_looks_like_markup_is_shown_as_it_is(tmp_path: Path) -> None:
    assert "name=[red]a[/red]" in tried(tmp_path, "[red]a[/red]:1|c\n").out


def test_counter_is_summed_over_flushes_and_a_gauge_is_its_last(tmp_path: Path) -> None:
    done = tried(tmp_path, "".join(f"{at}\tb'calls:1|c\\nup:{at}|g'\n" for at in range(35)))
    words = " ".join(done.out.split())
    assert "name=calls value=35" in words
    assert "name=up value=34" in words


def test_lines_are_those_that_would_be_stored(tmp_path: Path) -> None:
    done = tried(tmp_path, "calls:1|c\ncalls:2|c\n", "--lines")
    (line,) = [line for line in done.out.splitlines() if line.startswith("statsd_counter,")]
    point = parse(line)
    assert (point.tags, point.fields) == (
        {"asterisk": "default", "name": "calls"},
        {"value": 3.0},
    )


def test_mapping_can_be_tried_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    mapping = tmp_path / "mapping.yml"
    mapping.write_text(
        'mappings:\n- match: "calls.*"\n  name: trunk_calls\n  labels: {trunk: "$1"}\n'
    )
    done = tried(tmp_path, "calls.north:1|c\n", "--mapping", mapping)
    assert "trunk_calls trunk=north value=1" in " ".join(done.out.split())
    mapping.write_text("mappings: 7")
    done = tried(tmp_path, "calls.north:1|c\n", "--mapping", mapping)
    assert done.code == 2
    assert "COLLECTOR_STATSD_MAPPING=" in done.err


def test_file_that_is_no_capture_ends_with_the_line(tmp_path: Path) -> None:
    done = tried(tmp_path, "1\tb'a' 'b'\n")
    assert (done.code, done.err.startswith("line 1: ")) == (1, True)
