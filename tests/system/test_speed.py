"""Limits of two hot paths, as ratios of processor time to loops that do the least.

Neither the machine's speed nor its other work counts: on a machine with ten times as much to do as
it has processors, the ratios varied by a tenth. `make bench` measures the paths as a whole.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable

import polars as pl

from collector.intakes.asl.points import ReportConverter
from collector.intakes.asl.report import Report
from collector.lines import Stamper
from collector.metrics import Metrics
from collector.privacy import Pseudonymiser
from collector.rollup.facts import Rows, gather
from collector.schema import NODE_REPORT, SERVER_REPORT
from collector.schema.budgets import ASL_BUDGETS
from collector.suspicion import Suspicions
from collector.tag_budget import TagBudget
from tests.days import One, answer, node_rows, server_rows
from tests.sender import KEY, encoded, report
from tools.simulation.sending import EveryNode

ROUNDS = 15


def ratio(work: Callable[[], object], least: Callable[[], object]) -> float:
    """Processor time of `work` by that of `least`, each the best of some rounds taken in turn."""
    best = [float("inf"), float("inf")]
    # Coverage is counted line by line of Python, and would be what is measured.
    tracing = sys.gettrace()
    sys.settrace(None)
    try:
        for _ in range(ROUNDS):
            for place, each in enumerate((work, least)):
                begun = time.process_time()
                each()
                best[place] = min(best[place], time.process_time() - begun)
    finally:
        sys.settrace(tracing)
    return best[0] / best[1]


def test_a_report_costs_a_few_times_its_parsing() -> None:
    metrics = Metrics()
    converter = ReportConverter(
        pseudonyms=Pseudonymiser(KEY),
        stamper=Stamper(instance=0),
        budget=TagBudget(ASL_BUDGETS, memory_days=90),
        nodelist=EveryNode(),
        suspicions=Suspicions(),
        metrics=metrics,
    )
    bodies = [encoded(report([number, number + 1])) for number in range(2000, 4000, 2)]
    found = ratio(
        lambda: [converter.of(body, time.time_ns()) for body in bodies],
        lambda: [Report.model_validate_json(body) for body in bodies],
    )
    # 4.5 to 4.8 when this was written; twice that before tags were remembered.
    assert found < 6.5


def test_a_days_facts_cost_a_few_times_the_reading_of_its_rows() -> None:
    chance = random.Random(1)
    reports = [
        One(
            hour=number * 24 // 60_000,
            server=chance.getrandbits(64),
            nodes=(chance.getrandbits(64),),
            asl=chance.choice(["asl3-1.3", "asl3-3.3", "asl3-3.6.1"]),
            arch=chance.choice(["aarch64", "x86_64"]),
        )
        for number in range(60_000)
    ]
    of_nodes = answer(NODE_REPORT, node_rows(reports))
    of_servers = answer(SERVER_REPORT, server_rows(reports))

    def facts() -> object:
        return gather(
            Rows(NODE_REPORT).add(of_nodes).frame(), Rows(SERVER_REPORT).add(of_servers).frame()
        )

    found = ratio(facts, lambda: [pl.read_csv(text) for text in (of_nodes, of_servers)])
    # 2.3 to 2.6 when this was written.
    assert found < 3.5
