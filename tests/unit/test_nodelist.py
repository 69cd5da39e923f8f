from __future__ import annotations

from pathlib import Path

import pytest

from collector.metrics import Metrics
from collector.nodelist import FILE, Copy, NodeList, NodeListError, load, parse, save

TEXT = b"2000|W1AW|Hub|Newington\n511111|N0CALL||\n"


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        pytest.param(TEXT, {2000, 511111}, id="plain"),
        pytest.param(b"2000|a|b|c", {2000}, id="no line end"),
        pytest.param(b" 2000 |a|b|c\r\n", {2000}, id="spaces and CR"),
        pytest.param(b"\xef\xbb\xbf" + TEXT, {2000, 511111}, id="byte order mark"),
        pytest.param(b"; comment | x\n\n2000|a|b|c\n", {2000}, id="comment and empty line"),
        pytest.param(b"2000|a|b|c\n2000|a|b|c\n", {2000}, id="twice"),
        pytest.param(b"2147483648|a\n2000|b\n", {2000}, id="over 31 bits"),
        pytest.param(b"9" * 9999 + b"|a\n2000|b\n", {2000}, id="a number without end"),
        pytest.param("2000|Zoë|b|c\n".encode("latin-1"), {2000}, id="not UTF-8"),
        pytest.param("٣|a\n2000|b\n".encode(), {2000}, id="other digits"),
    ],
)
def test_numbers_are_read(text: bytes, nodes: set[int]) -> None:
    assert parse(text) == nodes


@pytest.mark.parametrize("text", [b"", b"<html>busy</html>", b"2000", b"no|list"])
def test_text_without_a_node_is_no_list(text: bytes) -> None:
    with pytest.raises(NodeListError):
        parse(text)


COPY = Copy(frozenset({2000, 511111, 2147483647}), '"e1"', "Sat, 01 Nov 2025 00:00:00 GMT")


def test_copy_is_found_again(tmp_path: Path) -> None:
    save(tmp_path / FILE, COPY)
    assert load(tmp_path / FILE) == COPY
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_no_callsign_is_kept(tmp_path: Path) -> None:
    save(tmp_path / FILE, Copy(parse(TEXT), "", ""))
    assert b"W1AW" not in (tmp_path / FILE).read_bytes()


@pytest.mark.parametrize("kept", [0, 1, 10, -1, -4, -8, -12])
def test_damaged_copy_is_none(tmp_path: Path, kept: int) -> None:
    save(tmp_path / FILE, COPY)
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:kept])
    assert load(tmp_path / FILE) is None


@pytest.mark.parametrize("text", [b"[]\n", b"{}\n", b"\xff\n", b"null\n", b'{"etag":"x"}\n'])
def test_copy_of_another_form_is_none(tmp_path: Path, text: bytes) -> None:
    (tmp_path / FILE).write_bytes(text)
    assert load(tmp_path / FILE) is None


def test_without_url_every_node_counts_even_beside_a_copy(tmp_path: Path) -> None:
    save(tmp_path / FILE, COPY)
    assert NodeList("", directory=tmp_path, metrics=Metrics()).lists(4711)


def test_kept_copy_serves_from_the_start(tmp_path: Path) -> None:
    save(tmp_path / FILE, COPY)
    listed = NodeList("http://127.0.0.1:1/", directory=tmp_path, metrics=Metrics())
    assert (listed.lists(2000), listed.lists(2001)) == (True, False)


def test_with_no_copy_every_node_counts(tmp_path: Path) -> None:
    assert NodeList("http://127.0.0.1:1/", directory=tmp_path, metrics=Metrics()).lists(4711)
