"""Suspicions are counted once each, and remembered within bounds."""

from __future__ import annotations

from collector.suspicion import LONGEST_UPTIME_S, Kind, Suspicions

DAY = 20_000


def said(
    suspicions: Suspicions,
    server: str,
    nodes: tuple[str, ...] = (),
    *,
    day: int = DAY,
    body: int | None = None,
    uptime: int | None = None,
    reload_age: int | None = None,
) -> list[Kind]:
    alike = hash((server, nodes)) if body is None else body
    return suspicions.of(day, server, nodes, alike, uptime, reload_age)


def test_server_is_first_seen_once() -> None:
    suspicions = Suspicions(known=["old"])
    assert said(suspicions, "old") == []
    assert said(suspicions, "new") == [Kind.FIRST_SEEN_SERVER]
    assert said(suspicions, "new") == []


def test_server_that_missed_a_day_is_no_new_one() -> None:
    suspicions = Suspicions(known=["a", "b"])
    said(suspicions, "a")
    said(suspicions, "b")
    said(suspicions, "a", day=DAY + 1)
    assert said(suspicions, "b", day=DAY + 2) == []
    assert said(suspicions, "b", day=DAY + 4) == []
    assert said(suspicions, "gone", day=DAY + 4) == [Kind.FIRST_SEEN_SERVER]


def test_each_claim_of_anothers_node_counts_on_its_day() -> None:
    suspicions = Suspicions(known=["a", "b"])
    assert said(suspicions, "a", ("1", "2", "3")) == []
    assert said(suspicions, "a", ("1", "2")) == []
    assert said(suspicions, "b", ("2", "3", "4")) == [Kind.NODE_CLAIMED_TWICE] * 2
    assert said(suspicions, "b", ("2", "3"), day=DAY + 1) == []


def test_body_alike_but_for_the_uuid_counts() -> None:
    suspicions = Suspicions(known=["a", "b"])
    assert said(suspicions, "a", body=7) == []
    assert said(suspicions, "a", body=7) == []
    assert said(suspicions, "b", body=7) == [Kind.BODY_REPEATED]


def test_uptime_that_cannot_be_counts() -> None:
    suspicions = Suspicions(known=["a"])
    assert said(suspicions, "a", uptime=100, reload_age=100) == []
    assert said(suspicions, "a", uptime=100, reload_age=101) == [Kind.IMPOSSIBLE_UPTIME]
    assert said(suspicions, "a", uptime=LONGEST_UPTIME_S) == []
    assert said(suspicions, "a", uptime=LONGEST_UPTIME_S + 1) == [Kind.IMPOSSIBLE_UPTIME]
    assert said(suspicions, "a", reload_age=5) == []


def test_memory_is_bounded_and_what_is_not_watched_is_told() -> None:
    suspicions = Suspicions(most=10)
    found: list[Kind] = []
    for day in range(DAY, DAY + 5):
        for number in range(1000):
            found = said(suspicions, f"s{number}", (f"n{number}",), day=day)
    assert Kind.UNWATCHED in found
    # Ten servers of today and the same of the days before, ten nodes, ten bodies.
    assert len(suspicions) == 4 * 10
