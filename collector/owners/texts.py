"""Replies to owners, as text for a terminal and as JSON. Pure functions."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from collector.days import day_of
from collector.orders import Elsewhere
from collector.owners.erasure_records import Receipt
from collector.owners.holdings import Place, Report
from collector.privacy import NodePseudonym
from collector.problems import Reason, Refusal
from collector.schema import (
    ARCH,
    ASL_VERSION,
    ASTERISK_VERSION,
    CHANNEL,
    DISTRO,
    MEASUREMENTS,
    OWNER,
    RAW,
    REGISTRATION,
    RELEASE,
    SERVER_REPORT,
    SERVER_TAGS,
    UNKNOWN,
)
from collector.setting_types import longest_retention

_WIDTH: Final = 78
_MOST_SHOWN: Final = 200
_NS: Final = 10**9
_REGISTERED: Final = {
    "http": "registered by HTTP",
    "iax": "registered by IAX2",
    "both": "registered by HTTP and IAX2",
    "none": "not registered",
}


@dataclass(frozen=True, slots=True)
class Terms:
    """Retention times in seconds: raw reports, copies in the outbox, backups (0: not stated).

    `notices` is that of erasure notices (0: for ever). `databases` has the retention of each
    database with reports of other senders.
    """

    raw: int
    copies: int
    backups: int
    notices: int = 0
    databases: Mapping[str, int] = field(default_factory=dict)

    def of(self, report: Report) -> int:
        """Retention of a report in seconds; 0: for ever."""
        points = (report.server, *report.nodes)
        name = next(point.measurement for point in points if point is not None)
        database = next((m.database for m in MEASUREMENTS if m.name == name), RAW)
        return self.databases.get(database, self.raw)


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply: its HTTP status, its text, and the same as data for JSON."""

    status: int
    words: str
    data: Mapping[str, Any]

    def json(self) -> str:
        """Return the data as JSON, with a newline at the end."""
        return json.dumps(self.data, indent=1, ensure_ascii=False) + "\n"


def shown(
    reports: list[Report],
    proven: list[Report],
    named: Mapping[NodePseudonym, int],
    terms: Terms,
    records: Sequence[dict[str, Any]] = (),
) -> Answer:
    """Build the reply that shows data: counts of all `reports`, content of `proven` ones.

    `proven` are reports whose values the owner's request states too; the newest come first. `named`
    are the node numbers in the request, by pseudonym. `records` are those in the records store.
    """
    longest = longest_retention([terms.of(report) for report in reports] or [terms.raw])
    counts = {place: sum(place in report.places for report in reports) for place in Place}
    held = {
        "reports": len(reports),
        "first_day": day_of(reports[0].received_ns).isoformat() if reports else None,
        "last_day": day_of(reports[-1].received_ns).isoformat() if reports else None,
        "in_database": counts[Place.RAW],
        "waiting": counts[Place.WAITING],
        "copies": counts[Place.DELIVERED],
        "set_aside": counts[Place.DEAD],
    }
    whole = [_report(report, named, terms) for report in reversed(proven[-_MOST_SHOWN:])]
    data = {
        "held": held,
        "kept": {"database_s": longest, "copies_s": terms.copies},
        "not_shown": len(reports) - len(whole),
        "reports": whole,
    }
    if records:
        held["records"] = len(records)
        data["records"] = [*reversed(records[-_MOST_SHOWN:])]
    return Answer(200, _shown_words(held, whole, longest, terms.copies), data)


def _shown_words(
    held: Mapping[str, Any], whole: list[dict[str, Any]], longest: int, copies: int
) -> str:
    lines = ["MY DATA", ""]
    if not held["reports"]:
        nothing = "Nothing"
        if "records" in held:
            nothing = f"Besides {_many(held['records'], 'record')} (see the JSON response), nothing"
        lines += _wrapped(f"{nothing} is held under the identity of the report that you sent.")
    else:
        days = f"from {held['first_day']} to {held['last_day']}"
        if held["first_day"] == held["last_day"]:
            days = f"on {held['first_day']}"
        lines += _wrapped(
            f"{_many(held['reports'], 'report')} held under the identity of the report that you"
            f" sent, received {days} (UTC)."
        )
        each, gone = (_stored(longest, came) for came in ("it came", "they came"))
        copies_gone = f"deleted {_span(copies)} after they came"
        lines += [
            "",
            _count("in the private database", held["in_database"], f"each {each}"),
            _count("waiting to be written there", held["waiting"]),
            _count("copies kept in case it is lost", held["copies"], copies_gone),
            _count("refused by it and set aside", held["set_aside"], gone),
        ]
        if "records" in held:
            where = "see the JSON response"
            lines.append(_count("records with their payloads", held["records"], where))
        lines.append("")
        hidden = held["reports"] - len(whole)
        if whole:
            lines += _wrapped(
                f"{_many(len(whole), 'report')} with the same versions as yours, newest first:"
            )
        if hidden:
            lines += _wrapped(
                f"{_many(hidden, 'report')} not shown: a UUID is no secret, so only reports whose"
                " versions (of the kernel, packages, programs) are those that you sent are shown"
                " whole."
            )
        for report in whole:
            lines += ["", *_report_words(report)]
    lines += [
        "",
        *_wrapped(
            "Published daily counts hold no one's identity. To have the reports deleted, or to be"
            " left out from now on, send the same report to .../v1/my-data/erase or"
            " .../v1/my-data/opt-out; GET /my-data tells more. Whether an identity is opted out is"
            " not shown."
        ),
    ]
    return "\n".join(lines) + "\n"


def _report(report: Report, named: Mapping[NodePseudonym, int], terms: Terms) -> dict[str, Any]:
    point = report.server
    tags: dict[str, str] = {} if point is None else dict(point.tags)
    if point is not None and point.measurement == SERVER_REPORT.name:
        tags = {tag.name: tags.get(tag.name, "") for tag in SERVER_TAGS}
    fields: dict[str, Any] = {} if point is None else dict(point.fields)
    kept = terms.of(report)
    shown: dict[str, Any] = {
        "received": _moment(report.received_ns),
        "deleted_after": _moment(report.received_ns + kept * _NS) if kept else None,
        "held_in": sorted(place.value for place in report.places),
        "tags": tags,
        "fields": _fields(fields),
    }
    if point is not None and point.measurement != SERVER_REPORT.name:
        parts = [{"tags": dict(part.tags), "fields": _fields(part.fields)} for part in report.nodes]
        return shown | ({"parts": parts} if parts else {})
    return shown | {
        "nodes": [
            {
                "number": named.get(NodePseudonym(str(node.fields.get("node", "")))),
                "channel": node.tags.get(CHANNEL.name, UNKNOWN),
                "registration": node.tags.get(REGISTRATION.name, UNKNOWN),
            }
            for node in report.nodes
        ]
    }


def _fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A point's fields as the owner sees them: without the owner, and JSON texts as data."""
    return {name: _decoded(value) for name, value in fields.items() if name != OWNER}


def _decoded(value: object) -> object:
    if isinstance(value, str) and value.startswith(("{", "[")):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            # A sender's own text that only begins like JSON.
            return value
    return value


def _report_words(report: Mapping[str, Any]) -> list[str]:
    tags, fields = report["tags"], report["fields"]
    end = report["deleted_after"]
    lines = [f"{report['received']}   {f'deleted after {end}' if end else 'stored for ever'}"]
    if ASTERISK_VERSION.name not in tags:
        # A sender whose reports have no text of their own here.
        for name, value in {**tags, **fields}.items():
            lines += _wrapped(f"{name}: {_words(value)}", indent="  ")
        for part in report.get("parts", ()):
            for field_name, value in part["fields"].items():
                name = " ".join([*part["tags"].values(), field_name])
                lines += _wrapped(f"{name}: {_words(value)}", indent="  ")
        return lines
    lines += [
        f"  Asterisk {tags[ASTERISK_VERSION.name]}, AllStarLink {tags[ASL_VERSION.name]},"
        f" {tags[DISTRO.name]} {tags[RELEASE.name]}, {tags[ARCH.name]}",
        f"  kernel {fields['kernel']}",
    ]
    ages = [
        f"{words} {fields[name]} s" + after
        for name, words, after in (("uptime", "up", ""), ("reload_age", "last reload", " ago"))
        if name in fields
    ]
    if ages:
        lines.append("  " + ", ".join(ages))
    said = ", ".join(
        f"{name} {version or '(none)'}" for name, version in fields["packages"].items()
    )
    lines += _wrapped(f"packages {said or 'none named'}", indent="  ")
    for node in report["nodes"]:
        number = "a node that your report does not name"
        if node["number"] is not None:
            number = f"node {node['number']}"
        way = _REGISTERED.get(node["registration"], "registration unknown")
        lines.append(f"  {number}: {node['channel']}, {way}")
    return lines


def _words(value: object) -> str:
    """A value as text; the objects of a list as their values, the last after a colon."""
    match value:
        case list():
            return "; ".join(_row(item) for item in value) or "-"
        case dict():
            return "; ".join(f"{name} {_words(item)}" for name, item in value.items()) or "-"
    return str(value)


def _row(item: object) -> str:
    *names, last = [*map(str, item.values() if isinstance(item, dict) else [item])] or ["-"]
    return f"{' '.join(names)}: {last}" if names else last


def erased(receipt: Receipt, terms: Terms, *, opted_out: bool) -> Answer:
    """Build the reply with the receipt of an erasure or an opt-out."""
    held = receipt.reports + receipt.waiting + receipt.copies + receipt.dead_letters
    held += receipt.records + (receipt.elsewhere.rows if receipt.elsewhere else 0)
    lines = ["OPTED OUT, AND ERASED" if opted_out else "ERASED", ""]
    if held:
        in_rows = f"in {_many(receipt.reports + receipt.node_reports, 'row')}"
        lines += [
            _count("reports in the private database", receipt.reports, in_rows),
            _count("waiting to be written there", receipt.waiting),
            _count("copies of delivered reports", receipt.copies),
            _count("lines that were set aside", receipt.dead_letters),
        ]
        if receipt.records:
            lines.append(_count("records with their payloads", receipt.records))
        if receipt.elsewhere is not None:
            lines.append(_count("on their way between our servers", receipt.elsewhere.stream))
            for name, one in receipt.elsewhere.cleared.items():
                rows = one.waiting + one.copies + one.dead_letters
                lines.append(_count(f"at {name}", rows))
        lines += ["", "Looked for again afterwards: nothing was left."]
    else:
        lines += _wrapped("Nothing was held under the identity of the report that you sent.")
    if receipt.elsewhere is not None:
        lines += ["", *_wrapped(_hops(receipt.elsewhere))]
    lines += ["", *_wrapped(_what_stays(terms))]
    lines += ["", *_wrapped(_OPTED_OUT if opted_out else _NOT_OPTED_OUT)]
    data = {
        "status": "erased",
        "opted_out": opted_out,
        "erased": receipt.data(),
        "not_erased": {"published_daily_counts": True, "backups_s": terms.backups or None},
    }
    return Answer(200, "\n".join(lines) + "\n", data)


_OPTED_OUT: Final = (
    "From now on reports under this identity are dropped as they come, by every collector of this"
    " network within a minute. To remember that, a keyed digest is kept, which no report was ever"
    " stored under. To end it, send the report to .../v1/my-data/opt-in."
)
_NOT_OPTED_OUT: Final = (
    "The next report under this identity is stored again. To be left out for good, send it to"
    " .../v1/my-data/opt-out, or turn the client off."
)


def _count(what: str, count: int, more: str = "") -> str:
    """A line of a table: what is counted, the number, and a remark."""
    return f"  {what:<35}{count:>6}   {more}".rstrip()


def _hops(found: Elsewhere) -> str:
    """Say which other processes have carried out an erasure, and which have not."""
    done = ", ".join(found.carried_out)
    words = f"The other processes that hold reports have deleted theirs: {done or 'none'}."
    if found.not_yet:
        silent = ", ".join(f"{name} (heard of at {at})" for name, at in found.not_yet.items())
        words += (
            f" Not yet: {silent}. Each deletes what it holds when it is back, before it passes on"
            " any report, and no other passes on a report of yours from before now."
        )
    return (
        f"{words} Files of the servers between them may hold bytes of reports that they have"
        " deleted; these are encrypted, and the key is destroyed once all reports under it are"
        " delivered, some minutes from now."
    )


def _what_stays(terms: Terms) -> str:
    backups = "until those are deleted"
    if terms.backups:
        backups = f"for {_span(terms.backups)} at most"
    notices = f"for {_span(terms.notices)}" if terms.notices else "for ever"
    return (
        "What stays: the daily counts that are published, which hold no one's identity, even if"
        " your reports were counted in them; and copies in the operator's backups, if there are"
        f" any, {backups}; and {notices} a keyed digest with the days of the erased"
        " reports, by which other collectors erase theirs. The database rewrites its own files"
        " within a day."
    )


def refused(refusal: Refusal) -> str:
    """Return the text of a refusal."""
    wait = refusal.retry_after if refusal.reason is Reason.RATE_LIMITED else None
    after = f"; try again after {_many(wait, 'second')}" if wait else ""
    return _page("NOT DONE", f"{refusal.detail}{after} (reason: {refusal.reason.value})")


def _page(heading: str, words: str) -> str:
    return "\n".join([heading, "", *_wrapped(words)]) + "\n"


def _wrapped(words: str, indent: str = "") -> Iterable[str]:
    return textwrap.wrap(
        words,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _stored(seconds: int, came: str) -> str:
    return f"deleted {_span(seconds)} after {came}" if seconds else "stored for ever"


def _span(seconds: int) -> str:
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length or seconds == length:
            return _many(seconds // length, unit)
    return _many(seconds, "second")


def _moment(time_ns: int) -> str:
    return f"{datetime.fromtimestamp(time_ns // _NS, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _brief(status: int, word: str, heading: str, words: str) -> Answer:
    return Answer(status, _page(heading, words), {"status": word})


QUEUED: Final = _brief(
    202,
    "queued",
    "REMEMBERED",
    "More erasures were asked for within an hour than usual. Yours is remembered, and an operator"
    " lets it go on once it is clear that they come from owners. You need not ask again.",
)
DELAYED: Final = _brief(
    202,
    "delayed",
    "REMEMBERED",
    "The database cannot do it at this moment. Your wish is remembered on our disk and done as soon"
    " as it can be, by itself. You need not ask again; .../v1/my-data shows what is held.",
)
OPTED_IN: Final = _brief(
    200,
    "opted-in",
    "OPTED IN",
    "Reports under this identity are stored from now on, as they were before any opt-out.",
)
