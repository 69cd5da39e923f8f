"""One sender's section of the privacy page: templates of its text, by language.

A sender's package has them as `privacy.en.md`, `privacy.es.md` and so on: Markdown with Jinja
placeholders, from a heading of the second level on. They may use the placeholders of the page's own
text (`collector.public.contexts.privacy_context`) and the section's own values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

_FILE: Final = re.compile(r"privacy\.(.*)\.md")


@dataclass(frozen=True, slots=True)
class PrivacySection:
    """Section of the privacy page: data stored of one sender, its retention, and its erasure.

    `templates` are by language code; a language without one shows the English text.
    """

    templates: Mapping[str, str]
    values: Mapping[str, object]


def privacy_section(package: str, values: Mapping[str, object]) -> PrivacySection:
    """The section whose templates are files of `package`, with the values of its settings."""
    templates = {
        found[1]: file.read_text("utf-8")
        for file in resources.files(package).iterdir()
        if (found := _FILE.fullmatch(file.name))
    }
    return PrivacySection(templates, values)
