"""Labels under which tag values are published. Pure.

Senders choose most of a tag's text, so each value is normalised by these rules:

1. It is printable ASCII: the value in Unicode's form NFKC (compatibility characters and ligatures
   become plain ones), where each printable character that is still not ASCII becomes `?`. This
   makes letters of other alphabets, accents and combining marks visible.
2. Each unprintable character becomes a blank; leading, trailing and repeated blanks are removed;
   a backslash becomes a slash; the result has at most 64 characters (`collector.lines.label`).
3. It does not imitate a reserved word: a value that looks like `other` or `all` becomes `other`;
   one that looks like `unknown`, or is empty, becomes `unknown`; one like `none`, `none`.
4. A release is published with its distribution, as `Debian 12`, with blanks in the release
   replaced by `_`. The last blank of the label ends the distribution, so labels are unambiguous.
5. Within one dimension and day, values that differ only in characters that look alike (`I`, `l`,
   `1`, `|`; `O`, `0`) are merged under the most frequent one. Letter case is visible, so
   `Debian` and `debian` stay apart.
6. An Asterisk version that names a commit is published as `GIT` or `SVN` (`collector.builds`), also
   of reports that were stored under the commit.

Rules 1 to 3 and 6 depend on the value alone, so a value has the same label every day.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from collector.lines import label
from collector.schema import ALL, NONE, OTHER, UNKNOWN

_ALIKE: Final = str.maketrans({"I": "l", "1": "l", "|": "l", "O": "0", "`": "'"})
_SHOWN: Final = "?"
_KERNEL: Final = re.compile(r"([1-9]\d?)\.(\d{1,3})(?!\d)", re.ASCII)


def _outline(text: str) -> str:
    """A form of an ASCII text that is equal for texts that look alike."""
    return text.translate(_ALIKE)


def _reading(text: str) -> str:
    """A form of a word that is equal for words that look alike in any letter case."""
    return _outline(text).casefold().replace("0", "o")


_WORDS: Final = {
    _reading(word): meaning
    for word, meaning in ((OTHER, OTHER), (ALL, OTHER), (UNKNOWN, UNKNOWN), (NONE, NONE))
}


@lru_cache(maxsize=8192)
def published_label(value: str) -> str:
    """The published label of a value, by rules 1 to 3."""
    text = label(unicodedata.normalize("NFKC", value))
    if not text.isascii():
        text = "".join(c if c.isascii() else _SHOWN for c in text)
    return _WORDS.get(_reading(text), text)


@lru_cache(maxsize=8192)
def kernel_series(release: str) -> str:
    """The series of a kernel's release: `6.6` of `6.6.31+rpt-rpi-v8`; `unknown` of other texts."""
    found = _KERNEL.match(release)
    return f"{int(found[1])}.{int(found[2])}" if found else UNKNOWN


def one_name(counts: Mapping[str, int]) -> dict[str, str]:
    """Rule 5: map each label of a dimension to the most frequent label that looks like it.

    `counts` gives the number of units with each label. On a tie, the first by code point wins.
    """
    names: dict[str, str] = {}
    for name in sorted(counts, key=lambda each: (-counts[each], each)):
        names.setdefault(_outline(name), name)
    return {name: names[_outline(name)] for name in counts}


def release_label(distro: str, release: str) -> str:
    """Rule 4: combine the labels of a distribution and a release.

    The result is `other` if either is `other`, and `unknown` if both are `unknown`.
    """
    if OTHER in {distro, release}:
        return OTHER
    if distro == release == UNKNOWN:
        return UNKNOWN
    return f"{distro} {release.replace(' ', '_')}"
