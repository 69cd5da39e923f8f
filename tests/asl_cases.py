"""Reader of the cases in tests/cases/asl: raw bodies with their expected lines or refusals.

The body is in a `.json` or `.body` file. The `.lines` file of the same name has the reply in its
first line, then one line of line protocol per point, in order of time, with the placeholders
`<server>`, `<node NUMBER>` (pseudonyms) and `<time>`. A `.reason` file holds the word of a refusal.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.sender import node_name, server_name

DIRECTORY = Path(__file__).parent / "cases" / "asl"
SAMPLES = sorted(DIRECTORY.glob("*.lines"))
ACCEPTED = SAMPLES + sorted(DIRECTORY.glob("odd/*.lines"))
REFUSED = sorted(DIRECTORY.glob("refused/*.reason"))


def body_of(case: Path) -> bytes:
    """The body of a case, as it is sent."""
    sample = case.with_suffix(".json")
    return (sample if sample.exists() else case.with_suffix(".body")).read_bytes()


def sender_of(body: bytes) -> str:
    """The UUID in a body."""
    found = re.search(rb'"uuid"\s*:\s*"([^"\\]+)', body)
    assert found is not None
    return found[1].decode()


def expected(case: Path) -> tuple[dict[str, object], list[str]]:
    """The numbers of the reply, and the lines with pseudonyms, but still with `<time>`."""
    server = server_name(sender_of(body_of(case)))
    head, *lines = case.read_text(encoding="utf-8").splitlines()
    return json.loads(head.removeprefix("# ")), [
        re.sub(
            r"<node (\d+)>",
            lambda found: node_name(int(found[1])),
            line.replace("<server>", server),
        )
        for line in lines
    ]
