"""What owners are shown, and the brake: pure parts."""

from __future__ import annotations

import json
import time

from hypothesis import given
from hypothesis import strategies as st

from collector.intakes.proof import Proof
from collector.lines import Point, label, line, parse, tag_set
from collector.orders import Cleared, Elsewhere
from collector.owners import texts
from collector.owners.erasure_records import Receipt
from collector.owners.holdings import Place, Report, reports_of
from collector.owners.routes import is_proven
from collector.owners.texts import Terms
from collector.privacy import NodePseudonym, Pseudonymiser, ServerPseudonym
from collector.problems import Reason, Refusal
from collector.schema import ASL_REPORT
from collector.schema.telemetrics import TELEMETRICS
from collector.setting_types import oldest_kept
from collector.settings import Settings

TERMS = Terms(90 * 86_400, 72 * 3600, 0, 90 * 86_400)
T0 = 1_795_000_000_000_000_000
SERVER = ServerPseudonym("00112233445566aa")


def server_point(at: int, *, nodes: int = 1, kernel: str = "6.1", packages: str = "{}") -> Point:
    tags = {"asterisk_version": "20.7.0", "asl_version": "asl3-1.3", "distro": "Debian"}
    fields: dict[str, int | float | str] = {
        "server": SERVER,
        "nodes": nodes,
        "kernel": kernel,
        "packages": packages,
    }
    return Point("server_report", tags | {"release": "12", "arch": "x86_64"}, fields, at)


def node_point(at: int, name: str = "aa") -> Point:
    tags = {"channel": "usbradio", "registration": "http"}
    return Point("node_report", tags, {"node": name, "server": SERVER}, at)


values = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n")),
)


@given(
    tags=st.dictionaries(st.from_regex(r"[a-z ,=]{1,9}", fullmatch=True), st.text()),
    fields=st.dictionaries(
        st.from_regex(r"[a-z ,=]{1,9}", fullmatch=True), values, min_size=1, max_size=4
    ),
    at=st.integers(0, 2**62),
)
def test_a_line_read_is_the_point_it_was_made_of(
    tags: dict[str, str], fields: dict[str, int | float | str], at: int
) -> None:
    labels = {name: label(value) for name, value in tags.items()}
    assert parse(line("m x", tag_set(labels), fields, at)) == Point("m x", labels, fields, at)


def test_points_of_a_report_come_together_and_others_stay_apart() -> None:
    points = [
        (Place.RAW, server_point(T0, nodes=2)),
        (Place.RAW, node_point(T0 + 1000)),
        (Place.RAW, node_point(T0 + 2000)),
        (Place.RAW, node_point(T0 + 3000)),
        (Place.DELIVERED, server_point(T0, nodes=2)),
        (Place.WAITING, server_point(T0 + 9000)),
        (Place.RAW, node_point(T0 - 1000)),
    ]
    found = reports_of(points, [ASL_REPORT])
    assert [(report.received_ns, len(report.nodes)) for report in found] == [
        (T0 - 1000, 1),
        (T0, 2),
        (T0 + 3000, 1),
        (T0 + 9000, 0),
    ]
    assert found[1].places == {Place.RAW, Place.DELIVERED}


def proof(kernel: str, packages: str) -> Proof:
    return Proof(SERVER, {"kernel": kernel, "packages": packages})


def test_report_is_proven_by_kernel_and_packages_alike() -> None:
    report = Report(T0, frozenset({Place.RAW}), server_point(T0, packages='{"a":"1"}'), ())
    assert is_proven(report, proof("6.1", '{"a":"1"}'))
    assert not is_proven(report, proof("6.2", '{"a":"1"}'))
    assert not is_proven(report, proof("6.1", '{"a":"2"}'))
    assert not is_proven(Report(T0, frozenset(), None, ()), proof("", "{}"))


def test_only_nodes_that_the_asker_named_are_shown_by_number() -> None:
    nodes = (node_point(T0 + 1000, "aa"), node_point(T0 + 2000, "bb"))
    report = Report(T0, frozenset({Place.RAW}), server_point(T0, nodes=2), nodes)
    answer = texts.shown([report], [report], {NodePseudonym("aa"): 2001}, TERMS)
    (whole,) = answer.data["reports"]
    assert [node["number"] for node in whole["nodes"]] == [2001, None]
    assert "node 2001" in answer.words
    assert "bb" not in answer.words
    assert SERVER not in answer.words + answer.json()


def test_reports_not_proven_are_numbers_only() -> None:
    report = Report(T0, frozenset({Place.RAW}), server_point(T0, kernel="secret-kernel"), ())
    answer = texts.shown([report], [], {}, TERMS)
    assert answer.data["reports"] == []
    assert answer.data["held"]["reports"] == 1
    assert answer.data["not_shown"] == 1
    assert "secret-kernel" not in answer.words + answer.json()


OVER_HOPS = Receipt(
    elsewhere=Elsewhere(
        stream=3,
        cleared={"receive-3fa1c2": Cleared(waiting=1, copies=4)},
        carried_out=("receive-3fa1c2", "write-0a1b2c"),
        not_yet={"receive-99f00d": "2026-11-26T06:58:59+00:00"},
    )
)


def test_receipt_names_each_process_and_what_it_erased() -> None:
    assert Receipt.read(OVER_HOPS.written()) == OVER_HOPS
    assert "elsewhere" not in Receipt().data()
    words = " ".join(texts.erased(OVER_HOPS, TERMS, opted_out=False).words.split())
    assert "on their way between our servers 3" in words
    assert "at receive-3fa1c2 5" in words
    assert "deleted theirs: receive-3fa1c2, write-0a1b2c." in words
    assert "Not yet: receive-99f00d (heard of at 2026-11-26T06:58:59+00:00)" in words
    alone = Receipt(elsewhere=Elsewhere())
    assert "theirs: none." in " ".join(texts.erased(alone, TERMS, opted_out=True).words.split())


INSTALL = Point(
    "librenms_report",
    {},
    {"server": SERVER, "groups": 1, "versions": '{"php_version":"8.2","rrdtool_version":"1.7"}'},
    T0,
)
TOTALS = Point(
    "librenms_content",
    {},
    {"server": SERVER, "totals": '[{"g":"os","n":"os","v":"ios","t":12},{"g":"wireless"},{}]'},
    T0 + 1000,
)


def test_report_of_another_sender_is_shown_with_the_names_of_its_values() -> None:
    report = Report(T0, frozenset({Place.RAW}), INSTALL, (TOTALS,))
    words = texts.shown([report], [report], {}, TERMS).words
    assert "\n  groups: 1\n  versions: php_version 8.2; rrdtool_version 1.7\n" in words
    assert "\n  totals: os os ios: 12; wireless; -\n" in words


def test_report_that_is_stored_for_ever_is_said_to_be() -> None:
    record = Point("record", {"severity": "1"}, {"server": SERVER, "payload_bytes": 3}, T0)
    report = Report(T0, frozenset({Place.RAW}), record, ())
    ever = Terms(90 * 86_400, 0, 0, 0, {TELEMETRICS: 0})
    answer = texts.shown([report], [report], {}, ever)
    assert answer.data["reports"][0]["deleted_after"] is None
    assert "1   each stored for ever" in answer.words
    assert "Z   stored for ever\n" in answer.words
    assert "deleted 0 seconds after it came" not in answer.words


def test_records_without_a_report_are_held_too() -> None:
    words = " ".join(texts.shown([], [], {}, TERMS, [{"id": 1}, {"id": 2}]).words.split())
    assert "Besides 2 records (see the JSON response), nothing is held under" in words


def test_refusal_says_when_to_try_again() -> None:
    limited = Refusal(Reason.RATE_LIMITED, "too many requests from one address", 243)
    assert "try again after 243 seconds (reason: rate-limited)" in " ".join(
        texts.refused(limited).split()
    )
    assert "try again" not in texts.refused(Refusal(Reason.INVALID_FIELD, "uuid: wrong"))


def test_every_answer_fits_a_terminal() -> None:
    packages = json.dumps({f"asl3-package-{number}": f"1.{number}" for number in range(40)})
    report = Report(
        T0, frozenset(Place), server_point(T0, packages=packages), (node_point(T0 + 1000),)
    )
    for answer in (
        texts.shown([], [], {}, TERMS),
        texts.shown([report], [report], {}, TERMS),
        texts.erased(Receipt(), TERMS, opted_out=False),
        texts.erased(Receipt(5, 9, 1, 2, 0, ("2026-11-20",)), TERMS, opted_out=True),
        texts.erased(OVER_HOPS, TERMS, opted_out=False),
        texts.QUEUED,
        texts.DELAYED,
        texts.OPTED_IN,
    ):
        assert all(len(row) <= 80 for row in answer.words.splitlines()), answer.words
        assert answer.words.endswith("\n")
        assert json.loads(answer.json())


def test_receipt_says_how_long_backups_last_where_the_operator_said_it() -> None:
    words = texts.erased(Receipt(), Terms(1, 1, 30 * 86_400), opted_out=False).words
    assert "for 30 days at most" in " ".join(words.split())


def test_receipt_says_what_is_remembered_of_the_erasure() -> None:
    words = " ".join(texts.erased(Receipt(), TERMS, opted_out=False).words.split())
    assert "; and for 90 days a keyed digest with the days of the erased reports" in words
    words = texts.erased(Receipt(), Terms(1, 1, 1, 0), opted_out=False).words
    assert "; and for ever a keyed digest" in " ".join(words.split())


def test_notices_of_erasures_are_kept_as_long_as_any_report() -> None:
    day = 86_400
    assert Settings().retention_notices == 90 * day
    assert Settings(retention_librenms=400 * day).retention_notices == 400 * day
    assert Settings(retention_records=200 * day).retention_notices == 200 * day
    assert Settings(retention_records=0).retention_notices == 0
    assert oldest_kept(0) == 0
    assert time.time_ns() - oldest_kept(day) < 2 * day * 10**9


def test_a_mark_is_no_pseudonym() -> None:
    names = Pseudonymiser(bytes(32))
    server = names.server("0b1e1f8c-55f0-4e3c-8b5d-0c9a5e6f7a22")
    assert names.mark(server) == names.mark(server)
    assert str(names.mark(server)) != str(server)
    assert names.mark(server) != Pseudonymiser(bytes(31) + b"1").mark(server)
