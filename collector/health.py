"""The web application of the private address: /metrics, /healthz, /readyz."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from aiohttp import hdrs, web

from collector.problems import SERVER, Reason, Refusal

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Health(Protocol):
    """The health of a collector, as /healthz and /readyz report it."""

    def gone(self) -> list[str]:
        """Names of the loops that have failed and wait for a restart, and of threads that ended."""
        ...

    def unavailable(self) -> str | None:
        """The reason why senders get 503 now, or None. It does not depend on InfluxDB."""
        ...


def private_site(metrics: Handler, health: Health) -> web.Application:
    """Build the application of the private address."""

    async def healthz(_request: web.Request) -> web.Response:
        gone = health.gone()
        if not gone:
            return web.Response(text="ok\n")
        return Refusal(Reason.UNAVAILABLE, f"has failed: {', '.join(gone)}").response()

    async def readyz(_request: web.Request) -> web.Response:
        why = health.unavailable()
        if why is None:
            return web.Response(text="ready\n")
        return Refusal(Reason.UNAVAILABLE, why).response()

    application = web.Application()
    application.add_routes(
        [web.get("/metrics", metrics), web.get("/healthz", healthz), web.get("/readyz", readyz)]
    )
    application.on_response_prepare.append(_named)
    return application


async def _named(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers[hdrs.SERVER] = SERVER
