"""The memory: what a collector must remember, in one SQLite file of the state directory.

Owners' choices, their erasures and notices of them, and the values of tags. All workers of a state
directory and all commands share it; it holds no reports. `store` opens the file, `layout` has its
tables, `salvage` reads a damaged one; each other module is a table, or some that belong together.
"""

from collector.memory.errors import MemoryDamaged, MemoryUnavailable
from collector.memory.memory import Memory, days_of_erasures, path_in
from collector.memory.records import Action, Asked, Choice, Notice, State
from collector.tag_budget import Sighting

__all__ = [
    "Action",
    "Asked",
    "Choice",
    "Memory",
    "MemoryDamaged",
    "MemoryUnavailable",
    "Notice",
    "Sighting",
    "State",
    "days_of_erasures",
    "path_in",
]
