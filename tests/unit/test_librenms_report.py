from __future__ import annotations

import json
import urllib.parse
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.intakes.librenms.form import json_field, text_field
from collector.intakes.librenms.points import Prepared, ReportConverter, prepare, versions_text
from collector.intakes.librenms.report import MOST_TOTAL, Pair, Reading, Total, read
from collector.lines import ReportStamper, parse
from collector.metrics import Metrics
from collector.privacy import Pseudonymiser
from collector.problems import Refusal
from collector.schema.librenms import EARLIER_GROUPS, GROUPS
from collector.tag_budget import TagBudget
from tests.librenms import (
    REPORT,
    UUID,
    clearing,
    earlier,
    expected,
    php_json,
    report,
    stored_totals,
    today,
)
from tests.sender import KEY, server_name

NOW = 1_790_000_000 * 10**9
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def multipart(said: Any) -> bytes:
    return (
        b'--xYz\r\nContent-Disposition: form-data; name="token"\r\n\r\n1\r\n'
        b'--xYz\r\nContent-Disposition: form-data; name="data"\r\n\r\n'
        + php_json(said).encode()
        + b"\r\n--xYz--\r\n"
    )


WRITTEN = (
    today,
    earlier,
    lambda said: earlier(said).removesuffix(b"&"),
    lambda said: b"\n" + earlier(said) + b"\r\n",
    lambda said: b"token=x&" + today(said) + b"&more=1",
    lambda said: b"data= " + php_json(said).encode() + b"&more={&",
    lambda said: json.dumps(said, ensure_ascii=False).encode(),
    lambda said: b"data=" + urllib.parse.quote(php_json(said), safe="{}[]:,/").encode(),
    multipart,
)


def understood(body: bytes) -> Reading:
    found = read(body)
    assert isinstance(found, Reading), found
    return found


def ready(body: bytes) -> Prepared:
    found = prepare(body)
    assert isinstance(found, Prepared), found
    return found


def converter(budget: TagBudget | None = None) -> ReportConverter:
    return ReportConverter(
        pseudonyms=Pseudonymiser(KEY),
        stamper=ReportStamper(instance=0),
        budget=budget or TagBudget({"librenms_group": 20}, memory_days=90),
        metrics=Metrics(),
    )


# Forms


@pytest.mark.parametrize("written", WRITTEN)
def test_report_is_the_same_however_its_form_is_written(written: Any) -> None:
    assert json_field(written(REPORT), "data") == REPORT


@given(TEXT, TEXT, st.booleans())
def test_unencoded_json_keeps_every_character(descr: str, value: str, trailing: bool) -> None:
    said = report(os=[{"total": 1, "os": value}]) | {
        "info": [{"count": 1, "os": "x", "sysDescr": f"a&b=c+d%41 {descr}", "sysObjectID": ".1"}]
    }
    for text in (php_json(said), json.dumps(said, ensure_ascii=False)):
        assert json_field(f"data={text}{'&' * trailing}".encode(), "data") == said
    assert json_field(today(said), "data") == said


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"data=",
        b"data=&",
        b"data={",
        b"data=%7B",
        b"date={}",
        b"data={}}",
        b'data={"uuid":"x"',
        b"{",
        b"data=" + b"[" * 100_000,
        b"data=" + b'{"a":' * 100_000,
        b"--x",
        b"--\r\n",
        b"\xff\xfe\x00",
        b"data=1" + b"0" * 5000,
    ],
)
def test_body_without_json_is_refused(body: bytes) -> None:
    found = read(body)
    assert isinstance(found, Refusal)
    assert found.reason.value == "malformed-json"


@given(st.binary(max_size=200))
def test_no_body_whatever_is_an_exception(body: bytes) -> None:
    for start in (b"", b"data=", b"data={", b"--a\r\n", b"data=%7B%22uuid%22:"):
        read(start + body)
        text_field(start + body, "uuid")


@pytest.mark.parametrize(
    "body",
    [
        clearing(),
        f"uuid={UUID}".encode(),
        f"uuid= {UUID.upper()} &".encode(),
        f"a=b&uuid={UUID}&c".encode(),
        f'{{"uuid": "{UUID}"}}'.encode(),
    ],
)
def test_uuid_is_found_in_the_form(body: bytes) -> None:
    assert (text_field(body, "uuid") or "").strip().lower() == UUID


# Reports


def test_all_48_groups_of_a_real_report_are_understood() -> None:
    found = understood(earlier(REPORT))
    assert tuple(found.groups) == GROUPS
    assert len(GROUPS) == 48
    wanted = expected(REPORT)
    # Seven groups count the install by its version, whatever the row's total.
    assert {name: [tuple(total) for total in totals] for name, totals in found.groups.items()} == (
        wanted
    )
    assert [pair.oid for pair in found.pairs] == [one["sysObjectID"] for one in REPORT["info"]]
    assert [pair.descr for pair in found.pairs] == [one["sysDescr"] for one in REPORT["info"]]
    assert found.ignored == {}
    assert found.versions["php_version"] == "8.2.20"
    assert found.versions["librenms_release"] == "24.7.0-12-g1f2e3d4c5"
    assert not set(GROUPS) & set(EARLIER_GROUPS)


@pytest.mark.parametrize(
    ("rows", "totals", "ignored"),
    [
        ([{"total": 12, "os": "ios"}], [("os", "ios", 12)], 0),
        ([{"total": "12", "os": "ios"}], [("os", "ios", 12)], 0),
        ([{"os": "ios", "total": 12}], [("os", "ios", 12)], 0),
        ([{"count": 12, "os": "ios"}], [("os", "ios", 12)], 0),
        ([{"total": 12}], [(None, None, 12)], 0),
        (
            {"0": {"total": 1, "a": "x"}, "2": {"total": 2, "a": "y"}},
            [("a", "x", 1), ("a", "y", 2)],
            0,
        ),
        ({"total": 3, "a": "x"}, [("a", "x", 3)], 0),
        ([{"total": 1, "a": "x"}, {"total": 2, "a": "x"}], [("a", "x", 3)], 0),
        ([{"total": 1, "a": None}, {"total": 2, "a": ""}], [("a", "unknown", 3)], 0),
        (
            [{"total": 1, "a": 1000.0}, {"total": 1, "a": True}],
            [("a", "1000", 1), ("a", "1", 1)],
            0,
        ),
        ([{"total": 4, "ROUND(`ifSpeed`/1000/1000)": "1000"}], [("ifSpeed", "1000", 4)], 0),
        ([{"total": 312, "version": 312}], [("version", "312", 1)], 0),
        ([{"version": "218"}], [(None, None, 218)], 0),
        ([{"total": 1, "a": "b", "c": "d"}], [("a", "b", 1)], 0),
        ([{"total": -1, "a": "b"}, {"total": 1.5, "a": "b"}, {"total": True, "a": "b"}], [], 3),
        ([{"total": MOST_TOTAL + 1, "a": "b"}, {"total": "x"}, {}, 7, None], [], 5),
        ([{"total": 1, "hardware": "S/N: ABC123"}], [("hardware", "S/N: AAA000", 1)], 0),
        ([{"total": 1, "version": "1.2.3.4"}], [("version", "1.2.3.4", 1)], 0),
        ([], [], 0),
    ],
)
def test_rows_are_understood_as_the_client_means_them(
    rows: Any, totals: list[Any], ignored: int
) -> None:
    found = understood(today(report() | {"data": {"group": rows}}))
    assert found.groups == {"group": tuple(Total(*total) for total in totals)}
    assert found.ignored.get("total", 0) == ignored


def test_what_is_no_group_is_left_out_and_counted() -> None:
    found = understood(today(report() | {"data": {"a": 3, "b": "x", "c": [{"total": 1}]}}))
    assert tuple(found.groups) == ("c",)
    assert found.ignored["group"] == 2
    many = understood(today(report() | {"data": {f"g{n}": [] for n in range(300)}}))
    assert (len(many.groups), many.ignored["group"]) == (200, 100)


@pytest.mark.parametrize(
    ("info", "pairs", "ignored"),
    [
        (None, [], 0),
        ([], [], 0),
        ("x", [], 1),
        ([1, {"sysDescr": "x"}, {"sysDescr": 1, "sysObjectID": ".1"}], [], 3),
        ([{"count": 1, "sysDescr": "x", "sysObjectID": "; DROP"}], [], 1),
        (
            [
                {
                    "count": "2",
                    "os": "linux",
                    "sysDescr": "Linux fw.corp 5.1.0 x",
                    "sysObjectID": ".1",
                }
            ],
            [Pair("linux", ".1", "Linux hostname 5.1.0 x", 2)],
            0,
        ),
        ([{"sysDescr": "x", "sysObjectID": ".1.2"}], [Pair("unknown", ".1.2", "x", 1)], 0),
    ],
)
def test_pairs_are_cleaned_and_what_is_none_is_left_out(
    info: Any, pairs: list[Pair], ignored: int
) -> None:
    found = understood(today(report() | {"info": info}))
    assert list(found.pairs) == pairs
    assert found.ignored.get("info", 0) == ignored


@pytest.mark.parametrize(
    "change",
    [
        {"uuid": None},
        {"uuid": 7},
        {"uuid": "x"},
        {"uuid": UUID + "0"},
        {"data": None},
        {"data": {}},
        {"data": []},
        {"data": "x"},
    ],
)
def test_report_without_uuid_or_data_is_refused(change: dict[str, Any]) -> None:
    found = read(today(report() | change))
    assert isinstance(found, Refusal)
    assert found.reason.value == "invalid-field"


# Points


def test_points_hold_the_whole_report_under_a_pseudonym() -> None:
    found = understood(today(report(UUID.upper())))
    entry = converter().entry(ready(today(report(UUID.upper()))), NOW, [])
    text = entry.lines.decode()
    assert UUID not in text.lower()
    points = [parse(line) for line in text.split("\n")]
    assert entry.points == len(points) == 2
    assert entry.server == server_name(UUID)
    assert {point.fields["server"] for point in points} == {server_name(UUID)}
    head, content = points
    assert content.time == head.time + 1000
    assert {name: head.fields[name] for name in ("points", "groups", "totals", "pairs")} == {
        "points": 1,
        "groups": 48,
        "totals": sum(map(len, expected(REPORT).values())),
        "pairs": 5,
    }
    assert head.fields["versions"] == versions_text(found)
    assert stored_totals([content.fields["totals"]]) == expected(REPORT)
    assert [pair["descr"] for pair in json.loads(str(content.fields["pairs"]))] == [
        pair["sysDescr"] for pair in REPORT["info"]
    ]


def test_large_report_is_several_points_that_a_string_field_can_hold() -> None:
    rows = [{"total": 1, "hardware": f"model {n} " + "ü" * 50} for n in range(5000)]
    info = [{"count": 1, "sysDescr": f"{n} " + "x" * 200, "sysObjectID": ".1"} for n in range(900)]
    said = report(hardware=rows) | {"info": info}
    points = [
        parse(line)
        for line in converter().entry(ready(today(said)), NOW, []).lines.decode().split("\n")
    ]
    head, *parts = points
    assert head.fields["points"] == len(parts) > 5
    totals = [part.fields["totals"] for part in parts]
    assert stored_totals(totals) == expected(said)
    pairs = [part.fields["pairs"] for part in parts if "pairs" in part.fields]
    assert len(pairs) > 1
    assert sum(len(json.loads(str(text))) for text in pairs) == 900
    assert all(len(str(text).encode()) < 64_000 for text in (*totals, *pairs))


def test_group_that_nobody_knows_needs_installs_that_send_it() -> None:
    budget = TagBudget({"librenms_group": 20}, memory_days=90)
    converting = converter(budget)
    made_up = {f"made_up_{n}": [{"total": 1}] for n in range(50)}

    def groups(uuid: str, data: dict[str, Any]) -> set[str]:
        found = ready(today(report(uuid) | {"data": data}))
        lines = converting.entry(found, NOW, []).lines.decode().split("\n")
        return set(stored_totals(parse(line).fields["totals"] for line in lines[1:]))

    # One install alone holds five, the rest are `other`; those that all know are never affected.
    assert groups(UUID, made_up) == {*(f"made_up_{n}" for n in range(5)), "other"}
    fresh = [f"{n:08x}-0000-4000-8000-000000000000" for n in range(40)]
    seen: set[str] = set()
    for uuid in fresh:
        seen = groups(uuid, {"new_group": [{"total": 1}], "os": [{"total": 1, "os": "ios"}]})
        assert "os" in seen
    assert "new_group" in seen


HOSTILE = '\ud800\x00\x1b[31m \u2028\n\r\t\\ ",= \u202e'


def test_no_text_whatever_breaks_a_line() -> None:
    said = {
        "uuid": UUID,
        "data": {HOSTILE: [{"total": 1, HOSTILE: HOSTILE}, {"total": 2, "version": HOSTILE}]},
        "info": [{"count": 1, "os": HOSTILE, "sysDescr": HOSTILE, "sysObjectID": ".1"}],
    }
    lines = converter().entry(ready(today(said)), NOW, []).lines.decode().split("\n")
    head, content = map(parse, lines)
    assert head.fields["groups"] == 1
    (group,) = stored_totals([content.fields["totals"]])
    assert group.isprintable()
    (pair,) = json.loads(str(content.fields["pairs"]))
    assert "\n\r\t" in pair["descr"]
