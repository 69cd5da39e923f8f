"""Generator of docs/privacy.md from the text of the page `/privacy`: `python -m tools.privacy`.

The page shows the values of the settings and the enabled senders, the document the defaults and
names of the settings and all senders.
"""

from __future__ import annotations

from pathlib import Path

from collector.intakes import INTAKES
from collector.public.contexts import privacy_context
from collector.public.language import DEFAULT, language
from collector.settings import Settings

PRIVACY = Path(__file__).parent.parent / "docs" / "privacy.md"

_MADE = (
    "Generated from the text of the page `/privacy`, with the default settings, by"
    " `python -m tools.privacy`;\na test compares the two. A running collector's page shows its"
    " own settings, and only the senders that\nthese enable."
)
_LINKS = {
    "my_data": "http.md",
    "method": "decisions/0003-cell-suppression.md",
    "method_name": "decisions/0003",
}


def privacy() -> str:
    """The whole text of docs/privacy.md."""
    defaults = Settings.model_construct()
    sections = [intake.privacy(defaults) for intake in INTAKES]
    values = privacy_context(defaults, language(DEFAULT), sections, links=_LINKS, names=True)
    heading, _, rest = language(DEFAULT).markdown("privacy", values).partition("\n")
    return f"{heading}\n\n{_MADE}\n{rest}"


if __name__ == "__main__":
    PRIVACY.write_text(privacy(), encoding="utf-8")
