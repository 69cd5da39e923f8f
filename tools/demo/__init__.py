"""A demonstration of the whole product on one machine, for a first look: `make demo`.

`run` starts InfluxDB, a collector and Grafana (if installed), and removes their data at the end;
`story` fills them with a simulated fleet and shows the published numbers.
"""

from tools.demo.past import Story
from tools.demo.run import DemoError, demo
from tools.demo.story import MOST_DAYS

__all__ = ["MOST_DAYS", "DemoError", "Story", "demo"]
