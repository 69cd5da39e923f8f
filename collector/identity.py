"""The user that a command runs as: root becomes the owner of the state directory.

What root made there, the service could neither open nor erase.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from collector.state import StateError


def become_owner(directory: Path) -> str | None:
    """Where root runs this, give all up for the owner of a state directory; the owner's name.

    None where nothing changes: for another user than root, for a directory that is root's or not
    there. Nothing of the directory is opened. Raises StateError where that cannot be done.
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
        # A container's user may have a number alone.
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
