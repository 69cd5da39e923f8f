"""HTTP routes for owners: show, erase, opt out, opt in.

The proof of ownership is the body, parsed like a report. A client that knows only the UUID gets
counts, and no content that it did not send. An unknown UUID gets the same reply as one without
reports, after the same search, and every reply is delayed to a multiple of half a second.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import KW_ONLY, InitVar, dataclass
from functools import partial
from typing import Final

import structlog
from aiohttp import hdrs, web

from collector.admission import RateLimit
from collector.influx import InfluxError
from collector.intakes.door import Door
from collector.intakes.proof import Proof
from collector.logs import Sparing
from collector.memory import Action
from collector.owners import texts
from collector.owners.holdings import Report
from collector.owners.requests import Later
from collector.owners.services import OwnerServices
from collector.owners.texts import Answer, Terms
from collector.problems import Reason, Refusal
from collector.sqlite.errors import StoreUnavailable

log = structlog.get_logger("collector.owners")

LOOKS_PER_HOUR: Final = 60
"""Limit of requests of all kinds for one client address."""
CHANGES_PER_HOUR: Final = 10
"""Limit of erasures and opt-outs for one client address, below the hourly limit for all."""
_STEP_S: Final = 0.5
_MOST_WAITING: Final = 20
_LOOK_S: Final = 4.0
"""Time limit of a search for an owner's data. Erasures have their own limit."""
_RETRY_AFTER_S: Final = 60

_Act = Callable[[Proof], Awaitable[Answer | Refusal]]


@dataclass(eq=False)
class MyData:
    """Handlers of the owners' routes. `secret` keys the counters of the rate limits.

    `identify` reads the proof from a request's body; `terms` are the retention times to state.
    """

    owners: OwnerServices
    identify: Callable[[bytes], Proof | Refusal]
    _: KW_ONLY
    terms: Terms
    door: Door
    secret: InitVar[bytes]

    def __post_init__(self, secret: bytes) -> None:
        self._looks = RateLimit(per_hour=LOOKS_PER_HOUR, secret=secret)
        self._changes = RateLimit(per_hour=CHANGES_PER_HOUR, secret=secret)
        self._sparing = Sparing()
        self._busy = 0

    def routes(self) -> list[web.RouteDef]:
        """Return the four routes. The page that explains them is a public page."""
        changes = (self._looks, self._changes)
        erase, opt_out = (partial(self._ask, one) for one in (Action.ERASE, Action.OPT_OUT))
        return [
            self._route("", "show", self._show, self._looks),
            self._route("/erase", "erase", erase, *changes),
            self._route("/opt-out", "opt-out", opt_out, *changes),
            self._route("/opt-in", "opt-in", self._opt_in, self._looks),
        ]

    def _route(self, path: str, name: str, act: _Act, *limits: RateLimit) -> web.RouteDef:
        return web.post(f"/v1/my-data{path}", partial(self._answer, name, act, limits))

    async def _answer(
        self, name: str, act: _Act, limits: Iterable[RateLimit], request: web.Request
    ) -> web.Response:
        outcome = await self._take(request, act, limits)
        json = "json" in request.headers.get(hdrs.ACCEPT, "")
        if isinstance(outcome, Refusal):
            self._sparing.info(log, "my data", action=name, reason=outcome.reason.value)
            response = outcome.response()
            if not json:
                response.text = texts.refused(outcome)
                response.content_type = "text/plain"
            return response
        status = str(outcome.data.get("status", "shown"))
        log.info("my data", action=name, outcome=status)
        return web.Response(
            status=outcome.status,
            text=outcome.json() if json else outcome.words,
            content_type="application/json" if json else "text/plain",
            headers={hdrs.CACHE_CONTROL: "no-store"},
        )

    async def _take(
        self, request: web.Request, act: _Act, limits: Iterable[RateLimit]
    ) -> Answer | Refusal:
        body = await self.door.body(request, *limits)
        if isinstance(body, Refusal):
            return body
        who = self.identify(body)
        if isinstance(who, Refusal):
            return who
        if self._busy >= _MOST_WAITING:
            return Refusal(Reason.UNAVAILABLE, "too many ask at once; try again", _RETRY_AFTER_S)
        begun = time.monotonic()
        self._busy += 1
        try:
            return await act(who)
        except StoreUnavailable:
            return Refusal(Reason.UNAVAILABLE, "nothing can be stored now", _RETRY_AFTER_S)
        except (InfluxError, TimeoutError):
            return Refusal(
                Reason.UNAVAILABLE, "the database cannot be asked now; try again", _RETRY_AFTER_S
            )
        finally:
            self._busy -= 1
            steps = math.ceil((time.monotonic() - begun) / _STEP_S)
            await asyncio.sleep(max(0.0, begun + steps * _STEP_S - time.monotonic()))

    async def _show(self, who: Proof) -> Answer:
        async with asyncio.timeout(_LOOK_S):
            reports = await self.owners.holdings.of(who.owner)
            records = await asyncio.to_thread(self.owners.records.of_owner, who.owner)
        proven = [report for report in reports if is_proven(report, who)]
        return texts.shown(reports, proven, who.nodes, self.terms, records)

    async def _ask(self, action: Action, who: Proof) -> Answer:
        match await self.owners.erasures.ask(who.owner, action):
            case Later.QUEUED:
                return texts.QUEUED
            case Later.DELAYED:
                return texts.DELAYED
            case receipt:
                return texts.erased(receipt, self.terms, opted_out=action is Action.OPT_OUT)

    async def _opt_in(self, who: Proof) -> Answer:
        await self.owners.erasures.opt_in(who.owner)
        self.owners.sync.wake()
        return texts.OPTED_IN


def is_proven(report: Report, who: Proof) -> bool:
    """Return whether a report has all values that the proof's body states."""
    if report.server is None:
        return False
    fields = report.server.fields
    return all(fields.get(name) == value for name, value in who.known.items())
