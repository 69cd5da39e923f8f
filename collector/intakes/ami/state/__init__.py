"""The state of one Asterisk: events and answers of AMI become points. Pure.

Times are those at which messages arrived, since Asterisk's own are whole seconds. All memory is
bounded; what exceeds a bound is counted in `State.drops`.
"""
