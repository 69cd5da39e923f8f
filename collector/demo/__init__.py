"""The whole collector on one machine, for somebody who sees it for the first time.

`run` starts an InfluxDB and a collector, and stops them and removes all that they made; `story`
fills them with a made-up fleet and shows what comes out.
"""

from collector.demo.run import DemoError, demo
from collector.demo.story import MOST_DAYS

__all__ = ["MOST_DAYS", "DemoError", "demo"]
