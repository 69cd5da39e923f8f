"""The memory: an SQLite file in the state directory for everything a collector remembers.

It holds owners' opt-out choices, erasure requests and their notices, and the values of tags, but no
reports. All workers and commands of a state directory share it. `store` opens the file, `layout`
defines its tables, `salvage` reads a damaged file, `records` are the rows; `choices`, `erasures`
and `tags` are its groups of tables. `live` is a second file, for Asterisk's live values.
"""

from collector.memory.errors import MemoryUnavailable
from collector.memory.live import Flushed, Journaled, Saved
from collector.memory.memory import Memory, days_of_erasures, path_in
from collector.memory.records import Action, Choice, ErasureRequest, Notice, State

__all__ = [
    "Action",
    "Choice",
    "ErasureRequest",
    "Flushed",
    "Journaled",
    "Memory",
    "MemoryUnavailable",
    "Notice",
    "Saved",
    "State",
    "days_of_erasures",
    "path_in",
]
