"""One sender's section of the privacy page: templates of its text, by language.

A sender's package has them as `privacy.en.md`, `privacy.es.md` and so on: Markdown with Jinja
placeholders, from a heading of the second level on. They may use the placeholders of the page's own
text (`collector.public.contexts.privacy_context`) and the section's own values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

_NAME: Final = "privacy."
_SUFFIX: Final = ".md"


@dataclass(frozen=True, slots=True)
class PrivacySection:
    """Section of the privacy page: data stored of one sender, its retention, and its erasure.

    `templates` are by language code; a language without one shows the English text.
    """

    templates: Mapping[str, str]
    values: Mapping[str, object]


def privacy_section(package: str, values: Mapping[str, object]) -> PrivacySection:
    """The section whose templates are files of `package`, with the values of its settings."""
    files = {file.name: file for file in resources.files(package).iterdir()}
    templates = {
        name.removeprefix(_NAME).removesuffix(_SUFFIX): file.read_text("utf-8")
        for name, file in files.items()
        if name.startswith(_NAME) and name.endswith(_SUFFIX)
    }
    return PrivacySection(templates, values)
