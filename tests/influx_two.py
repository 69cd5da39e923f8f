"""An HTTP server with the routes of InfluxDB 2 that manage buckets and tokens.

Its answers are those observed of 2.8.0, word for word where a client reads them. It is used only
without a real InfluxDB 2: the same tests run against one that TEST_INFLUX_URL names.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

ORG = "asl"
ORG_ID = "d9e0a0cee343efed"
OPERATOR = "operator-token"

Json = dict[str, Any]
PERMISSIONS = web.RequestKey("permissions", list)
"""The permissions of a request's token; absent for the operator's, which has all."""


class InfluxTwo:
    """A server with one organisation, its buckets and authorizations, but no points."""

    def __init__(self, *, hides_tokens: bool = False) -> None:
        self.buckets: dict[str, Json] = {}
        self.authorizations: dict[str, Json] = {}
        self._hides_tokens = hides_tokens
        self.allows_setup = False

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._authorized])
        application.add_routes(
            [
                web.get("/ping", self._ping),
                web.get("/metrics", self._metrics),
                web.post("/query", self._query),
                web.get("/api/v2/setup", self._setup),
                web.get("/api/v2/orgs", self._orgs),
                web.get("/api/v2/buckets", self._find_buckets),
                web.post("/api/v2/buckets", self._make_bucket),
                web.patch("/api/v2/buckets/{id}", self._change_bucket),
                web.get("/api/v2/authorizations", self._find_authorizations),
                web.post("/api/v2/authorizations", self._make_authorization),
                web.delete("/api/v2/authorizations/{id}", self._remove_authorization),
            ]
        )
        return application

    def bucket(self, name: str) -> Json:
        return next(found for found in self.buckets.values() if found["name"] == name)

    @web.middleware
    async def _authorized(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.path in ("/ping", "/metrics", "/api/v2/setup"):
            return await handler(request)
        token = request.headers.get("Authorization", "").removeprefix("Token ")
        known = {found["token"]: found for found in self.authorizations.values()}
        if token != OPERATOR and token not in known:
            return _error(401, "unauthorized", "unauthorized access")
        if token != OPERATOR:
            request[PERMISSIONS] = known[token]["permissions"]
        return await handler(request)

    def _may(self, request: web.Request, action: str, kind: str, identity: str = "") -> bool:
        permissions = request.get(PERMISSIONS)
        return permissions is None or any(
            one["action"] == action
            and one["resource"]["type"] == kind
            and one["resource"].get("id") == identity
            for one in permissions
        )

    async def _ping(self, _request: web.Request) -> web.Response:
        return web.Response(status=204, headers={"X-Influxdb-Version": "v2.8.0"})

    async def _setup(self, _request: web.Request) -> web.Response:
        return web.json_response({"allowed": self.allows_setup})

    async def _metrics(self, _request: web.Request) -> web.Response:
        lines = [
            f'storage_shard_disk_size{{bucket="{key}",engine="tsm1",id="{n}"}} 1500'
            for key in self.buckets
            for n in (1, 2)
        ]
        return web.Response(text="\n".join(["# TYPE storage_shard_disk_size gauge", *lines, ""]))

    async def _query(self, request: web.Request) -> web.Response:
        form = await request.post()
        name = form.get("db", "")
        allowed = [
            found["name"]
            for key, found in self.buckets.items()
            if self._may(request, "read", "buckets", key)
        ]
        if name not in allowed:
            return _error(404, "not found", "no dbrp mapping found")
        statements = str(form["q"]).split("; ")
        return web.json_response({"results": [{"statement_id": n} for n in range(len(statements))]})

    async def _orgs(self, request: web.Request) -> web.Response:
        if PERMISSIONS in request:
            return web.json_response({"orgs": []})
        if request.query["org"] != ORG:
            words = f'organization name "{request.query["org"]}" not found'
            return _error(404, "not found", words)
        return web.json_response({"orgs": [{"id": ORG_ID, "name": ORG}]})

    async def _find_buckets(self, request: web.Request) -> web.Response:
        found = [
            bucket
            for key, bucket in self.buckets.items()
            if bucket["name"] == request.query["name"]
            and self._may(request, "read", "buckets", key)
        ]
        return web.json_response({"buckets": found})

    async def _make_bucket(self, request: web.Request) -> web.Response:
        if not self._may(request, "write", "buckets"):
            return _error(401, "unauthorized", f"write:orgs/{ORG_ID}/buckets is unauthorized")
        bucket = await request.json() | {"id": secrets.token_hex(8)}
        self.buckets[bucket["id"]] = bucket
        return web.json_response(bucket, status=201)

    async def _change_bucket(self, request: web.Request) -> web.Response:
        key = request.match_info["id"]
        if not self._may(request, "write", "buckets", key):
            words = f"write:orgs/{ORG_ID}/buckets/{key} is unauthorized"
            return _error(401, "unauthorized", words)
        self.buckets[key] |= await request.json()
        return web.json_response(self.buckets[key])

    async def _find_authorizations(self, _request: web.Request) -> web.Response:
        shown = [
            found | ({"token": ""} if self._hides_tokens else {})
            for found in self.authorizations.values()
        ]
        return web.json_response({"authorizations": shown})

    async def _make_authorization(self, request: web.Request) -> web.Response:
        if PERMISSIONS in request:
            words = f"write:orgs/{ORG_ID}/authorizations is unauthorized"
            return _error(401, "unauthorized", words)
        made = await request.json() | {
            "id": secrets.token_hex(8),
            "token": secrets.token_urlsafe(32),
            "status": "active",
        }
        self.authorizations[made["id"]] = made
        return web.json_response(made, status=201)

    async def _remove_authorization(self, request: web.Request) -> web.Response:
        if self.authorizations.pop(request.match_info["id"], None) is None:
            return _error(404, "not found", "authorization not found")
        return web.Response(status=204)


def _error(status: int, code: str, words: str) -> web.Response:
    return web.json_response({"code": code, "message": words}, status=status)
