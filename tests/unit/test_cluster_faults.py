"""The order in which `make demo-cluster` breaks its members."""

from __future__ import annotations

from itertools import islice
from random import Random

from tools.cluster.faults import Fault, plan

KINDS = [["balancer"], ["receiver-1", "receiver-2"], ["nats-1", "nats-2", "nats-3"], ["influxdb"]]


def test_every_kind_is_broken_once_before_any_comes_again() -> None:
    of = {name: number for number, kind in enumerate(KINDS) for name in kind}
    for seed in range(50):
        chosen = [of[name] for name, _ in islice(plan(KINDS, Random(seed)), 40)]
        for first in range(0, 40, len(KINDS)):
            assert sorted(chosen[first : first + len(KINDS)]) == list(range(len(KINDS)))


def test_every_member_has_its_turn_and_every_fourth_fault_is_a_stop() -> None:
    chosen = list(islice(plan(KINDS, Random(1)), 200))
    assert {name for name, _ in chosen} == {name for kind in KINDS for name in kind}
    stops = [number for number, (_, fault) in enumerate(chosen, 1) if fault is Fault.STOPPED]
    assert stops == list(range(4, 201, 4))


def test_the_same_seed_breaks_the_same_members() -> None:
    one, other = (list(islice(plan(KINDS, Random(7)), 30)) for _ in range(2))
    assert one == other
