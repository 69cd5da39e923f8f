"""The labels under which values from reports are published. Pure.

A sender chooses most of the text of a tag, so a label follows rules of our own:

1. It is printable ASCII: the value in Unicode's form NFKC (compatibility characters and ligatures
   become plain ones), where each printable character that is still not ASCII is `?`. Letters of
   other alphabets, accents and marks without a shape of their own are seen as such.
2. What is not printable is a blank; there is none at the ends, no two in a row; at most 64
   characters; a backslash is a slash (`collector.lines.label`).
3. It is not one of the words of the tables themselves: a value that reads like `other` or `all` is
   `other`; one that reads like `unknown`, or is empty, is `unknown`; like `none`, `none`.
4. Within one dimension and day, values that differ only in characters that look alike (`I`, `l`,
   `1`, `|`; `O`, `0`) are one value, under the name that most units have. Letter case is visible,
   so `Debian` and `debian` are two.
5. A release is published with its distribution, as `Debian 12`, with its own blanks written `_`:
   the last blank of the label ends the distribution, so that no label has two of them.

Rules 1 to 3 look at the value alone, so that a value has the same label every day.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from collector.lines import label
from collector.schema import ALL, NONE, OTHER, UNKNOWN

_ALIKE: Final = str.maketrans({"I": "l", "1": "l", "|": "l", "O": "0", "`": "'"})
_SHOWN: Final = "?"


def _outline(text: str) -> str:
    """What a reader sees of an ASCII text: equal for texts that look alike."""
    return text.translate(_ALIKE)


def _reading(text: str) -> str:
    """What a reader takes a word for, whatever its case."""
    return _outline(text).casefold().replace("0", "o")


_WORDS: Final = {
    _reading(word): meaning
    for word, meaning in ((OTHER, OTHER), (ALL, OTHER), (UNKNOWN, UNKNOWN), (NONE, NONE))
}


@lru_cache(maxsize=8192)
def published_label(value: str) -> str:
    """The label of any text, by rules 1 to 3."""
    text = label(unicodedata.normalize("NFKC", value))
    if not text.isascii():
        text = "".join(c if c.isascii() else _SHOWN for c in text)
    return _WORDS.get(_reading(text), text)


def one_name(counts: Mapping[str, int]) -> dict[str, str]:
    """Rule 4: the name of each label of a dimension; `counts` is how many units have it.

    Of labels that look alike the most frequent gives the name; of equally frequent ones the first
    by code point.
    """
    names: dict[str, str] = {}
    for name in sorted(counts, key=lambda each: (-counts[each], each)):
        names.setdefault(_outline(name), name)
    return {name: names[_outline(name)] for name in counts}


def release_label(distro: str, release: str) -> str:
    """Rule 5: the label of a release within a distribution, both labels themselves.

    `other` where either is; `unknown` where both are.
    """
    if OTHER in {distro, release}:
        return OTHER
    if distro == release == UNKNOWN:
        return UNKNOWN
    return f"{distro} {release.replace(' ', '_')}"
