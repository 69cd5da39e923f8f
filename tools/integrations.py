"""Generator of docs/integrations.md from the page of that name: `python -m tools.integrations`."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Final

from collector.public.contexts import ANY_HOST, integrations_context
from collector.public.language import DEFAULT, language

INTEGRATIONS: Final = Path(__file__).parent.parent / "docs" / "integrations.md"

_MADE: Final = (
    "Generated from the text of the page `/integrations` by `python -m tools.integrations`; a test"
    " compares the two.\nA running collector's page has its own address in place of `https://HOST`."
)
_LINKS: Final = {"api": "http.md", "api_name": "http.md"}
_EXAMPLE: Final = date(2026, 10, 3)


def integrations() -> str:
    """The whole text of docs/integrations.md."""
    values = integrations_context(ANY_HOST, language(DEFAULT), _EXAMPLE, links=_LINKS)
    heading, _, rest = language(DEFAULT).markdown("integrations", values).partition("\n")
    return f"{heading}\n\n{_MADE}\n{rest}"


if __name__ == "__main__":
    INTEGRATIONS.write_text(integrations(), encoding="utf-8")
