"""`make demo-cluster`: a whole cluster as processes on loopback that are killed in turn.

`members` are the processes, `plant` starts them, `senders` send reports and remember the replies,
`faults` kills and stops members, `counts` compares what was acknowledged with what is where, and
`run` leads through it.
"""

from __future__ import annotations
