"""The page about StatsD's forms: each line in it has the outcome that it tells."""

from __future__ import annotations

import re
from pathlib import Path

from collector.intakes.statsd.aggregate import Aggregator
from collector.intakes.statsd.drops import Drop, Ignored
from collector.intakes.statsd.mapping import read, shipped

PAGE = (Path(__file__).parents[2] / "docs/senders/statsd-wire.md").read_text("utf-8")
NOW = 1_795_622_400 * 10**9


def test_each_line_of_the_table_of_forms_has_the_outcome_that_the_table_tells() -> None:
    section = PAGE.split("## Forms")[1].split("## Types")[0]
    rows = re.findall(r"^\| (`.*?`) \| (.*) \|$", section, re.MULTILINE)
    assert len(rows) > 25
    for forms, told in rows:
        words = set(re.findall(r"`([a-z-]+)`", told))
        for form in re.findall(r"`(.*?)`", forms):
            aggregator = Aggregator("pbx", read("mappings: []"))
            aggregator.take(form.replace("\\|", "|").encode(), NOW)
            counts = aggregator.counts
            assert set(counts.drops) == (words & set(Drop)), form
            assert set(counts.ignored) == (words & set(Ignored)), form
            assert bool(counts.samples) == told.startswith("taken"), form


def test_every_reason_is_on_the_page() -> None:
    for reason in (*Drop, *Ignored):
        assert f"`{reason}`" in PAGE, reason


def test_example_of_a_mapping_file_can_be_used() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    mapping = read(example)
    assert mapping.find("queue.support.waiting", "gauge")
    assert mapping.find("debug.x", "counter") == "drop"
    assert shipped().find("debug.x", "counter") is None
