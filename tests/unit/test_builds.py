"""Names of Asterisk builds: no commit is in a name, and releases keep theirs."""

from __future__ import annotations

from random import Random

from collector.builds import build_name

NAMES = {
    "GIT-master-a1b2c3d": "GIT",
    "GIT-18-a1b2c3d4e5M": "GIT",
    "GIT-certified-18.9-a1b2c3d": "GIT",
    "GIT-20-20.7.0-rc1-3-ga1b2c3d": "GIT",
    "GIT": "GIT",
    "git-feature/pjsip-0123456": "GIT",
    "20.7.0-3-ga1b2c3d": "GIT",
    "22.0.0-rc1-12-g0123456-dirty": "GIT",
    "004bd4f": "GIT",
    "a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4e5f6a1b2": "GIT",
    "SVN-branch-1.8-r419592": "SVN",
    "SVN-trunk-r12345M": "SVN",
    "SVN": "SVN",
    "UNKNOWN__and_probably_unsupported": "unknown",
    "UNKNOWN__git_check_fail": "unknown",
    "UNKNOWN__something_new": "unknown",
}
RELEASES = (
    "20.7.0",
    "1.4.23-pre",
    "18.9-cert5",
    "certified/18.9-cert5",
    "certified-18.9-cert15",
    "22.0.0-rc1",
    "21.0.0~rc1",
    "20.5.0~dfsg+~cs6.13.40431414-2",
    "16.28.0~dfsg-0+deb11u4",
    "20241115",
    "13.38.3-1234567",
    "such",
    "unknown",
    "GITEA",
    "SVNish",
    "digit-4",
    "facade1x",
)


def test_a_build_from_a_source_tree_is_named_by_the_tree_alone() -> None:
    for build, name in NAMES.items():
        assert build_name(build) == name, build


def test_a_release_keeps_its_name() -> None:
    for build in RELEASES:
        assert build_name(build) == build


def test_servers_of_any_commit_share_one_value() -> None:
    chance = Random(18)
    commits = [f"{chance.getrandbits(160):040x}"[: chance.randint(7, 40)] for _ in range(200)]
    branches = ("master", "18", "20.7", "certified/20", "releases/22")
    for commit in commits:
        for branch in branches:
            for mark in ("", "M", "-dirty"):
                assert build_name(f"GIT-{branch}-{commit}{mark}") == "GIT"
        assert build_name(f"22.1.0-4-g{commit}") == "GIT"
