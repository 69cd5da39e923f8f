"""A pseudonym key that is lost or another: `serve` says so and does not count everyone twice."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.conftest import Databases, StartServe
from tests.sender import GUARD_S, encoded, eventually, post, report

pytestmark = pytest.mark.no_cover  # what other tests cover, in whole processes


def test_serve_refuses_a_lost_key_until_a_new_one_is_meant(
    databases: Databases, serve: StartServe
) -> None:
    collector = serve(databases.environment)
    assert post(collector.url, encoded(report([2000]))).status == 200
    eventually(lambda: databases.server.count(databases.raw, "node_report", "node") == 1)
    collector.terminate()
    (collector.state_dir / "pseudonym.key").unlink()
    refused = serve(collector.environment, ready=False)
    assert refused.process.wait(GUARD_S) == 2
    assert "--new-pseudonym-key" in refused.logs()
    # An earlier version wrote no fingerprint.
    (collector.state_dir / "pseudonym.fingerprint").unlink()
    refused = serve(collector.environment, ready=False)
    assert refused.process.wait(GUARD_S) == 2
    # The whole directory lost: InfluxDB knows of reports.
    shutil.rmtree(collector.state_dir)
    refused = serve(collector.environment, ready=False)
    assert refused.process.wait(GUARD_S) == 2
    assert "is missing, though there are reports" in refused.logs()
    assert not (collector.state_dir / "pseudonym.key").exists()
    meant = subprocess.Popen(
        [sys.executable, "-m", "collector", "serve", "--new-pseudonym-key"],
        env=collector.environment,
    )
    try:
        eventually((collector.state_dir / "outbox.sqlite3").exists)
    finally:
        meant.terminate()
        meant.wait(GUARD_S)
    again = serve(collector.environment)
    assert post(again.url, encoded(report([2000]))).status == 200
