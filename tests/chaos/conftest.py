"""Common settings of the collectors in chaos tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from tests.conftest import Serve, StartServe

OUT_OF_REACH = str(10**9)


@pytest.fixture
def serve(serve: StartServe) -> StartServe:
    """`serve` with a rate limit out of reach, since all senders have the same address."""

    def start(
        settings: Mapping[str, str],
        *,
        ready: bool = True,
        under: Sequence[str] = (),
        role: str = "serve",
    ) -> Serve:
        chosen = {"COLLECTOR_RATE_LIMIT": OUT_OF_REACH, **settings}
        return serve(chosen, ready=ready, under=under, role=role)

    return start
