"""Parser of machine checks (`org.clearlinux/mce/…`), as mcelog writes them."""

from __future__ import annotations

import re
from typing import Final

from collector.records.parsers import FixedParser, Parsed
from collector.records.parsers.frames import shortened

_CPU_BANK: Final = re.compile(r"\bCPU (?P<cpu>\d+)(?:[ :]+BANK (?P<bank>\d+))?", re.IGNORECASE)
_BANK: Final = re.compile(r"\bBANK[: ]+(?P<bank>\d+)", re.IGNORECASE)
_STATUS: Final = re.compile(
    r"(?<!G)\bSTATUS[: ]+(?:0x)?(?P<status>[0-9a-f]{1,16})\b", re.IGNORECASE
)
_SOCKET: Final = re.compile(r"\bSOCKET(?:ID)?[: ]+(?P<socket>\d+)", re.IGNORECASE)
_ERROR: Final = re.compile(r"^ *((?:Un)?corrected error.*|MCA: .+)$", re.IGNORECASE | re.MULTILINE)
KIND: Final = "machine-check"


class MachineCheck(FixedParser):
    """Extracts processor, bank and status; the label is bank and status."""

    prefixes = ("org.clearlinux/mce/",)

    def parse(self, text: str) -> Parsed | None:
        """The first machine check of a payload."""
        text = shortened(text)
        status = _STATUS.search(text)
        where = _CPU_BANK.search(text)
        if status is None and where is None:
            return None
        bank = where["bank"] if where is not None else None
        if bank is None and (found := _BANK.search(text)) is not None:
            bank = found["bank"]
        socket, error = _SOCKET.search(text), _ERROR.search(text)
        code = "" if status is None else status["status"].lower().zfill(16)
        words = [f"bank {bank}" if bank is not None else "", f"status {code}" if code else ""]
        detail = {
            "cpu": None if where is None else int(where["cpu"]),
            "bank": None if bank is None else int(bank),
            "socket": None if socket is None else int(socket["socket"]),
            "status": code,
            "error": "" if error is None else error[1].strip(),
        }
        return Parsed(KIND, " ".join(filter(None, words)) or "unknown", detail)
