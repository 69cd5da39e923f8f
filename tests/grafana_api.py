"""A client of Grafana's HTTP API, with the routes that Grafana's own pages use."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import urllib3

from tests.sender import GUARD_S
from tools.dashboards.asked import Span


@dataclass(frozen=True)
class Api:
    """The API of a running Grafana, used as a user (`user:password`) or an anonymous viewer."""

    url: str
    who: str = ""

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json"}
        if self.who:
            headers |= urllib3.make_headers(basic_auth=self.who)
        with urllib3.PoolManager(retries=False, timeout=GUARD_S) as http:
            content = None if body is None else json.dumps(body)
            answer = http.request(method, self.url + path, body=content, headers=headers)
        try:
            return answer.status, json.loads(answer.data)
        except ValueError:
            return answer.status, answer.data.decode(errors="replace")

    def get(self, path: str) -> Any:
        status, body = self.ask("GET", path)
        assert status == 200, (path, status, body)
        return body

    def rules(self) -> list[dict[str, Any]]:
        """All alert rules with their states; none while Grafana loads them.

        Grafana 9.3 has this route; `/api/v1/provisioning/alert-rules` lists rules since 9.4 only.
        """
        groups = self.get("/api/prometheus/grafana/api/v1/rules")["data"].get("groups") or []
        return [rule for group in groups for rule in group.get("rules") or []]

    def frames(self, uid: str, kind: str, target: dict[str, Any], span: Span) -> list[Any]:
        """The result of a panel's query, from the route that panels use."""
        status, body = self.ask(
            "POST",
            "/api/ds/query",
            {
                "queries": [
                    target | {"datasource": {"uid": uid, "type": kind}, "maxDataPoints": 500}
                ],
                "from": str(span.since),
                "to": str(span.until),
            },
        )
        assert status == 200, (target, status, body)
        result = body["results"][target["refId"]]
        assert "error" not in result, (target, result)
        found: list[Any] = result.get("frames", [])
        return found
