"""The state of one Asterisk: events and answers of AMI become points. Pure.

Time is when a message arrived: Asterisk's own times are whole seconds. Everything that is held is
bounded; what is left out is counted in `State.drops`.
"""

from collector.intakes.ami.state.names import Names
from collector.intakes.ami.state.state import State
from collector.intakes.ami.state.wanted import CLASSES, RESPONSE, WANTED

__all__ = ["CLASSES", "RESPONSE", "WANTED", "Names", "State"]
