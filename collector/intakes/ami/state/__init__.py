"""The state of one Asterisk: events and answers of AMI become points. Pure.

Times are those at which messages arrived, since Asterisk's own are whole seconds. All memory is
bounded; what exceeds a bound is counted in `State.drops`.
"""

from collector.asterisk_names import Names
from collector.intakes.ami.state.state import State
from collector.intakes.ami.state.wanted import CLASSES, RESPONSE, WANTED

__all__ = ["CLASSES", "RESPONSE", "WANTED", "Names", "State"]
