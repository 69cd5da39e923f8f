"""Switches a command that root runs to the user who owns the state directory.

The service could neither open nor delete files that root creates there.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from collector.state import StateError


def become_owner(directory: Path) -> str | None:
    """Switch from root to the owner of a state directory; return the owner's name.

    Returns None if nothing changes: the user is not root, or the directory belongs to root or does
    not exist. Opens nothing in the directory. Raises StateError if the switch fails.
    """
    if os.geteuid() != 0 or not directory.exists():
        return None
    found = directory.stat()
    if found.st_uid == 0:
        return None
    try:
        name = pwd.getpwuid(found.st_uid).pw_name
        groups = os.getgrouplist(name, found.st_gid)
    except KeyError:
        # A container's user may have a number but no name.
        name, groups = str(found.st_uid), [found.st_gid]
    try:
        os.setgroups(groups)
        os.setresgid(found.st_gid, found.st_gid, found.st_gid)
        os.setresuid(found.st_uid, found.st_uid, found.st_uid)
    except OSError as error:
        raise StateError(
            f"{directory} belongs to user {name}, and root may not become that user here"
            f" ({error.strerror}): run this command as {name}"
        ) from error
    if not os.access(os.__file__, os.R_OK):
        raise StateError(
            f"{directory} belongs to user {name}, who cannot read the Python that runs this"
            f" ({os.__file__}): use an installation that {name} can read"
        )
    return name
