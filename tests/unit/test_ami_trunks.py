"""The operator's trunks are up while Asterisk can reach one of their endpoints, and else down."""

from __future__ import annotations

from collector.asterisk_names import Names
from collector.intakes.ami.message import Message
from collector.intakes.ami.state.state import State
from tests.ami_replay import replay
from tools.replay.captures import AMI, read_capture

NAMES = Names(
    trunks={
        "PJSIP/trunk": "provider",
        "PJSIP/spare": "provider",
        "IAX2/far": "far",
        "DAHDI/i1": "isdn",
    }
)


def device(name: str, state: str) -> Message:
    return Message("DeviceStateChange", {"Privilege": "call,all", "Device": name, "State": state})


def peer(status: str) -> Message:
    headers = {"Privilege": "system,all", "ChannelType": "IAX2", "Peer": "IAX2/far"}
    return Message("PeerStatus", headers | {"PeerStatus": status})


def up(state: State) -> dict[str, int | float | str]:
    return {
        point.tags["trunk"]: point.fields["up"]
        for point in state.flush(1)
        if point.measurement == "trunks"
    }


def test_trunk_is_up_while_one_of_its_endpoints_is() -> None:
    state = State("pbx", NAMES)
    state.asked(0)
    assert up(state) == {}
    state.take(device("PJSIP/trunk", "NOT_INUSE"), 0)
    state.take(device("PJSIP/spare", "UNAVAILABLE"), 0)
    state.take(device("PJSIP/alice", "UNAVAILABLE"), 0)
    state.take(peer("Reachable"), 0)
    assert up(state) == {"provider": 1, "far": 1}
    state.take(device("PJSIP/trunk", "UNAVAILABLE"), 0)
    state.take(peer("Unreachable"), 0)
    assert up(state) == {"provider": 0, "far": 0}
    state.take(device("PJSIP/spare", "INUSE"), 0)
    assert up(state) == {"provider": 1, "far": 0}
    # Taken out of the configuration.
    state.take(device("PJSIP/spare", "INVALID"), 0)
    assert up(state) == {"provider": 0, "far": 0}


def test_nothing_is_told_of_a_trunk_while_the_connection_is_away() -> None:
    state = State("pbx", NAMES)
    state.asked(0)
    state.take(device("PJSIP/trunk", "UNAVAILABLE"), 0)
    assert up(state) == {"provider": 0}
    state.lost(0)
    assert up(state) == {}


def test_recorded_list_of_devices_tells_the_trunks_state_at_once() -> None:
    for name, wanted in (("01a", 0), ("01b", 1)):
        (path,) = (path for path in AMI if path.name.startswith(name))
        done = replay(read_capture(path), names=Names(trunks={"PJSIP/trunk": "provider"}))
        told = [one.get("trunks", "up", trunk="provider") for one in done.moments]
        assert wanted in told, name
        assert 1 - wanted not in told, name
