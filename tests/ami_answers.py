"""Answers that a recorded Asterisk would have given, had the recording client asked.

Made from the configuration in the recording's description, as of a start with nothing registered;
or from a TRUTH line, for what was true later.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache

from collector.intakes.ami.message import Message
from tests.ami_replay import Answer, Event, steps
from tools.replay.captures import Capture

_OF = {
    "CoreShowChannels": "CoreShowChannel",
    "PJSIPShowContacts": "ContactList",
    "PJSIPShowAors": "AorList",
    "PJSIPShowEndpoints": "EndpointList",
    "PJSIPShowRegistrationsOutbound": "OutboundRegistrationDetail",
    "IAXpeerlist": "PeerEntry",
    "IAXregistry": "RegistryEntry",
}
_STATUS = {
    "Avail": "Reachable",
    "Unavail": "Unreachable",
    "NonQual": "NonQualified",
    "Unknown": "Unknown",
}
_SUCCESS = Message("", {"Response": "Success"})
_SCHEME = "sip:"


def answer(action: str, *items: dict[str, str]) -> Answer:
    """The answer to a question, whose items are all of one kind."""
    return Answer(
        0.0, action, _SUCCESS, tuple(Message(_OF[action], one) for one in items), is_error=False
    )


def queue_status(*items: Message) -> Answer:
    """The answer to QueueStatus."""
    return Answer(0.0, "QueueStatus", _SUCCESS, items, is_error=False)


Section = tuple[str, dict[str, list[str]]]


@lru_cache(maxsize=128)
def _sections(capture: Capture, file: str) -> tuple[Section, ...]:
    """The sections of a configuration file in the description, each with its values by key."""
    return tuple(_read_sections(capture, file))


def _read_sections(capture: Capture, file: str) -> Iterator[Section]:
    lines = list(capture.description)
    if f"--- {file} ---" not in lines:
        return
    name, values = "", defaultdict[str, list[str]](list)
    for line in lines[lines.index(f"--- {file} ---") + 1 :]:
        if not line.startswith("|"):
            break
        text = line.removeprefix("|").strip()
        if found := re.match(r"\[(.+)\]", text):
            if name:
                yield name, dict(values)
            name, values = found[1], defaultdict(list)
        elif "=" in text:
            key, _, value = text.partition("=")
            values[key.strip()].append(value.strip(" >"))
    if name:
        yield name, dict(values)


def fresh(capture: Capture) -> list[Answer]:
    """Answers right after a start: no calls, no phones, nothing registered."""
    answers = [answer("CoreShowChannels")]
    queues = [one for one in _sections(capture, "queues.conf") if one[0] != "general"]
    if queues:
        answers.append(queue_status(*_queue_items(queues)))
    pjsip = list(_sections(capture, "pjsip.conf"))
    if pjsip:
        answers += _pjsip(pjsip)
    iax = list(_sections(capture, "iax.conf"))
    if iax:
        peers = [name for name, values in iax if values.get("type") in (["friend"], ["peer"])]
        answers.append(
            answer("IAXpeerlist", *({"ObjectName": one, "Status": "UNKNOWN"} for one in peers))
        )
        registers = [line for _, values in iax for line in values.get("register", [])]
        answers.append(answer("IAXregistry", *(_registry(one) for one in registers)))
    return answers


def _queue_items(queues: list[Section]) -> Iterator[Message]:
    for name, values in queues:
        level = values.get("servicelevel", ["0"])[0]
        yield Message("QueueParams", {"Queue": name, "Calls": "0", "ServiceLevel": level})
        for member in values.get("member", []):
            headers = {"Queue": name, "Location": member.split(",")[0], "Status": "5"}
            yield Message("QueueMember", {**headers, "Paused": "0"})


def _pjsip(sections: list[Section]) -> Iterator[Answer]:
    of_type: dict[str, list[Section]] = defaultdict(list)
    for name, values in sections:
        of_type[values.get("type", [""])[0]].append((name, values))
    contacts = {
        name: ",".join(f"{name}/{uri}" for uri in values.get("contact", []))
        for name, values in of_type["aor"]
    }
    yield answer("PJSIPShowContacts")
    yield answer(
        "PJSIPShowAors",
        *(
            {"ObjectName": name, "Contacts": contacts[name], "QualifyFrequency": "0"}
            for name, _ in of_type["aor"]
        ),
    )
    yield answer(
        "PJSIPShowEndpoints",
        *(
            {"ObjectName": name, "DeviceState": "Unavailable", "Contacts": contacts.get(name, "")}
            for name, _ in of_type["endpoint"]
        ),
    )
    yield answer(
        "PJSIPShowRegistrationsOutbound",
        *(
            {
                "ClientUri": values["client_uri"][0],
                "ServerUri": values["server_uri"][0],
                "Status": "Unregistered",
            }
            for _, values in of_type["registration"]
        ),
    )


def _registry(line: str) -> dict[str, str]:
    login, _, host = line.partition("@")
    return {"Username": login.split(":")[0], "Host": host, "State": "Request Sent"}


def later(capture: Capture, poll: str) -> list[Answer]:
    """Answers at the moment of a `poll contacts=` line, in the order in which they are asked."""
    head, endpoints, registrations, iax2 = poll.removeprefix("poll ").split(" | ")
    uris = _uris(capture)
    contacts: list[tuple[str, str, str]] = []
    for aor, status in re.findall(r"(\S+?):(\w+):[\d.nan]+", head.partition("[")[2]):
        known = [uri for uri in uris[aor] if (aor, uri) not in {one[:2] for one in contacts}]
        contacts.append((aor, known[0], _STATUS[status]))
    by_aor: dict[str, list[str]] = defaultdict(list)
    for aor, uri, _ in contacts:
        by_aor[aor].append(f"{aor}/{uri}")
    clients = dict(_clients(capture))
    return [
        answer(
            "PJSIPShowContacts",
            *({"ObjectName": f"{a};@0", "Uri": uri, "Status": s} for a, uri, s in contacts),
        ),
        answer(
            "PJSIPShowAors",
            *({"ObjectName": aor, "Contacts": ",".join(all_)} for aor, all_ in by_aor.items()),
        ),
        answer(
            "PJSIPShowEndpoints",
            *(
                {"ObjectName": name, "DeviceState": state.replace("_", " ")}
                for name, state in re.findall(r"([^\s\[]+?):(\w+):\d+ch", endpoints)
            ),
        ),
        answer(
            "PJSIPShowRegistrationsOutbound",
            *(
                {**clients[name], "Status": state}
                for name, state in re.findall(r"([^\s\[]+?):(\w+)", registrations)
            ),
        ),
        answer(
            "IAXpeerlist",
            *(
                {"ObjectName": name, "Status": status}
                for name, status in re.findall(r"peers \[(\S+?):(.+?)\]", iax2)
            ),
        ),
        answer(
            "IAXregistry",
            *(
                {**_iax_client(capture), "State": state.replace("_", " ")}
                for state in re.findall(r"registry \[\S+?:(\w+)", iax2)
            ),
        ),
    ]


@lru_cache(maxsize=32)
def _uris(capture: Capture) -> dict[str, list[str]]:
    """The addresses of the contacts of each AOR in the whole recording."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, values in _sections(capture, "pjsip.conf"):
        if values.get("type") == ["aor"]:
            found[name] += values.get("contact", [])
    for step in steps(capture):
        if isinstance(step, Event) and step.message.event == "ContactStatus":
            headers = step.message.headers
            if headers["URI"] not in found[headers["AOR"]]:
                found[headers["AOR"]].append(headers["URI"])
    return found


def _clients(capture: Capture) -> Iterator[tuple[str, dict[str, str]]]:
    for name, values in _sections(capture, "pjsip.conf"):
        if values.get("type") == ["registration"]:
            client, server = values["client_uri"][0], values["server_uri"][0]
            yield name, {"ClientUri": client, "ServerUri": server}


def _iax_client(capture: Capture) -> dict[str, str]:
    for _, values in _sections(capture, "iax.conf"):
        for line in values.get("register", []):
            found = _registry(line)
            return {"Username": found["Username"], "Host": found["Host"]}
    raise ValueError("iax.conf registers nowhere")
