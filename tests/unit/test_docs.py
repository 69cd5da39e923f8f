"""The docs cannot drift: what the code declares is what they say."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from typer.main import get_command

from collector.cli import cli
from tools.reference import REFERENCE, reference

ROOT = Path(__file__).parent.parent.parent
RELEASED = {"0.1.0": "eb7d934d850ce0455d29c3003b33ec51d99032a29d82067324678840e798b5f3"}
"""SHA-256 of each release's section of the changelog."""


def test_the_reference_is_what_the_code_declares() -> None:
    assert REFERENCE.read_text(encoding="utf-8") == reference(), "run `python -m tools.reference`"


def test_every_command_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    top = get_command(cli)
    commands = top.commands  # type: ignore[attr-defined]
    names = {name for name, command in commands.items() if not command.hidden}
    for name in names:
        assert re.search(rf"`collector {name}\b", readme), f"`collector {name}` is not in README.md"


def test_no_link_in_the_docs_leads_nowhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    pages += [path for folder in ("docs", "deploy") for path in (ROOT / folder).rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_decision_has_a_number_of_its_own() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    numbers = [page.name[:4] for page in pages]
    assert len(numbers) == len(set(numbers)), numbers
    for page in pages:
        title = page.read_text(encoding="utf-8").splitlines()[0]
        assert title.startswith(f"# {int(page.name[:4])}. "), page.name


def test_a_release_stays_in_the_changelog_as_it_was_published() -> None:
    sections = re.split(
        r"^## ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert sections[1].startswith("Unreleased\n")
    released = {section.split()[0]: section.rstrip() for section in sections[2:]}
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in released.items()}
    assert digests == RELEASED, "new lines belong under `## Unreleased`"
