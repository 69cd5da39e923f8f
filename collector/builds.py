"""Names of Asterisk builds, as published. Pure.

A build from a source tree names its branch and commit in place of a release
(`build_tools/make_version` in Asterisk's sources): `GIT-master-a1b2c3d`, `GIT-18-a1b2c3dM`,
`SVN-branch-1.8-r12345`, `UNKNOWN__and_probably_unsupported`. Few servers run the same commit, so
the commit could tell one server from the others; what counts is that it is no release.
"""

from __future__ import annotations

import re
from typing import Final

from collector.schema import UNKNOWN

GIT: Final = "GIT"
SVN: Final = "SVN"

_COMMIT: Final = r"(?=[0-9a-f]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{7,40}(M|-dirty|-modified)?"
_TREES: Final = (
    (GIT, r"git([-_.:/].*)?"),
    (SVN, r"svn([-_.:/].*)?"),
    (UNKNOWN, r"unknown__.*"),
    # As `git describe` writes it: commits after a tag.
    (GIT, r".+-\d+-g[0-9a-f]{7,40}(M|-dirty|-modified)?"),
    (GIT, _COMMIT),
)
_NAMES: Final = tuple(
    (name, re.compile(pattern, re.IGNORECASE | re.DOTALL)) for name, pattern in _TREES
)


def build_name(build: str) -> str:
    """A build's name: `GIT` or `SVN` for one from a source tree, `unknown` if Asterisk knew none.

    Releases (`20.7.0`, `18.9-cert5`, `22.0.0-rc1`) are returned unchanged.
    """
    for name, pattern in _NAMES:
        if pattern.fullmatch(build):
            return name
    return build
