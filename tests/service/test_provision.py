"""Scoped access to InfluxDB: tokens on 2.x, users on a 1.x that asks for passwords."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import structlog
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from collector import provision
from collector.influx import Influx, InfluxError, InfluxUnavailable, reading
from collector.influx.access import COLLECTOR, COMMUNITY, OPS, ROLES, Role, Tokens, label
from collector.influx.client import Written
from collector.influx.databases import ensure, retentions, set_retention
from collector.influx.usage import usage
from collector.influx.v2 import NotPermitted
from collector.provision import Outcome, RotationError, finish
from collector.retention import prepare
from collector.schema import DAILY, LIVE, OWNERS, RAW
from tests.command import command
from tests.conftest import InfluxServer
from tests.influx_two import OPERATOR, ORG, InfluxTwo
from tools import embedded

RETENTION = {RAW: 90 * 86_400, DAILY: 0, OWNERS: 0, LIVE: 30 * 86_400}
ADMIN = "admin:secret's"
issue = partial(provision.issue, of_senders=[LIVE])


@dataclass(frozen=True)
class Given:
    """A server with an administrator's token; `stands_in` where it is no InfluxDB 2 but ours."""

    url: str
    token: str
    org: str
    prefix: str
    stands_in: InfluxTwo | None = None

    def influx(self, token: str | None = None, org: str | None = None) -> Influx:
        return Influx(
            self.url,
            token=self.token if token is None else token,
            org=self.org if org is None else org,
            prefix=self.prefix,
        )

    @property
    def environment(self) -> dict[str, str]:
        return {
            "COLLECTOR_INFLUX_URL": self.url,
            "COLLECTOR_INFLUX_TOKEN": self.token,
            "COLLECTOR_INFLUX_PREFIX": self.prefix,
        }


@pytest.fixture
async def two(request: pytest.FixtureRequest) -> AsyncIterator[Given]:
    """An InfluxDB 2: the one given by TEST_INFLUX_URL, else the stand-in for its routes."""
    prefix = f"t{secrets.token_hex(6)}_"
    server: InfluxServer = request.getfixturevalue("influx_server")
    if not server.is_2:
        stand_in = InfluxTwo()
        async with TestServer(stand_in.application()) as running:
            yield Given(str(running.make_url("")).rstrip("/"), OPERATOR, ORG, prefix, stand_in)
        return
    yield Given(server.url, server.token, server.org, prefix)
    with server._client() as client:  # noqa: SLF001 - the server of the tests
        authorizations = client.authorizations_api()
        for one in authorizations.find_authorizations():
            if (one.description or "").startswith(prefix):
                authorizations.delete_authorization(one)
    for name in server.databases():
        if name.startswith(prefix):
            server.drop(name)


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Given]:
    """A real InfluxDB 1.x that asks everybody for a password."""
    config = embedded._CONFIG.replace("[http]\n", "[http]\nauth-enabled = true\n")  # noqa: SLF001 - no option of the product
    assert "auth-enabled" in config
    monkeypatch.setattr(embedded, "_CONFIG", config)
    own = embedded.EmbeddedInflux(tmp_path / "guarded-influxdb")
    own.start()
    InfluxServer(own.url).query(
        "CREATE USER admin WITH PASSWORD 'secret''s' WITH ALL PRIVILEGES".replace("''", "\\'")
    )
    yield Given(own.url, ADMIN, "", "")
    own.kill()


def read(directory: Path, role: Role) -> str:
    return (directory / f"{role.name}.token").read_text()


async def can_read(given: Given, token: str, database: str) -> bool:
    async with given.influx(token) as influx:
        try:
            await reading.read(influx, reading.Select(database, "probe", ["*"]))
        except InfluxError:
            return False
    return True


async def can_write(given: Given, token: str, database: str) -> bool:
    async with given.influx(token) as influx:
        return isinstance(await influx.write(database, b"probe f=1i 1795305600000000000"), Written)


async def assert_scopes(given: Given, directory: Path) -> None:
    """Each credential reaches what its role says, and no more."""
    may = {
        COLLECTOR: ({RAW, DAILY, OWNERS, LIVE}, {RAW, DAILY, OWNERS, LIVE}),
        COMMUNITY: ({DAILY}, set[str]()),
        OPS: ({RAW, DAILY, LIVE}, set[str]()),
    }
    for role, (reads, writes) in may.items():
        token = read(directory, role)
        for database in (RAW, DAILY, OWNERS, LIVE):
            assert await can_read(given, token, database) == (database in reads)
            if given.stands_in is None:
                assert await can_write(given, token, database) == (database in writes)


# InfluxDB 2


async def test_sender_that_is_enabled_later_is_added_to_the_tokens(
    two: Given, tmp_path: Path
) -> None:
    directory = tmp_path / "tokens"
    async with two.influx() as influx:
        await ensure(influx, RETENTION)
        await provision.issue(influx, directory, rotate=False)
        token = read(directory, OPS)
        assert not await can_read(two, token, LIVE)
        again = {one.role: one.outcome for one in await issue(influx, directory, rotate=False)}
    assert again == {
        COLLECTOR: Outcome.REPLACED,
        COMMUNITY: Outcome.KEPT,
        OPS: Outcome.REPLACED,
    }
    await assert_scopes(two, directory)


async def test_three_tokens_reach_exactly_what_they_should(two: Given, tmp_path: Path) -> None:
    async with two.influx() as influx:
        await ensure(influx, RETENTION)
        made = await issue(influx, tmp_path / "tokens", rotate=False)
    assert [one.outcome for one in made] == [Outcome.MADE] * 3
    await assert_scopes(two, tmp_path / "tokens")


async def test_files_are_for_their_owner_only_and_the_header_holds_the_token(
    two: Given, tmp_path: Path
) -> None:
    async with two.influx() as influx:
        await ensure(influx, RETENTION)
        await issue(influx, tmp_path / "tokens", rotate=False)
    directory = tmp_path / "tokens"
    assert sorted(file.name for file in directory.iterdir()) == sorted(
        f"{role.name}.{kind}" for role in ROLES for kind in ("token", "header")
    )
    assert {file.stat().st_mode & 0o777 for file in directory.iterdir()} == {0o600}
    assert directory.stat().st_mode & 0o777 == 0o700
    for role in ROLES:
        assert (directory / f"{role.name}.header").read_text() == f"Token {read(directory, role)}"


async def test_second_run_keeps_every_token(two: Given, tmp_path: Path) -> None:
    async with two.influx() as influx:
        await ensure(influx, RETENTION)
        await issue(influx, tmp_path, rotate=False)
        before = [read(tmp_path, role) for role in ROLES]
        again = await issue(influx, tmp_path, rotate=False)
    assert [one.outcome for one in again] == [Outcome.KEPT] * 3
    assert [read(tmp_path, role) for role in ROLES] == before


async def test_lost_file_gets_a_new_token_and_the_old_one_ends(two: Given, tmp_path: Path) -> None:
    async with two.influx() as influx:
        await ensure(influx, RETENTION)
        await issue(influx, tmp_path, rotate=False)
        lost = read(tmp_path, OPS)
        (tmp_path / "grafana-ops.token").unlink()
        again = {one.role: one.outcome for one in await issue(influx, tmp_path, rotate=False)}
    assert again == {COLLECTOR: Outcome.KEPT, COMMUNITY: Outcome.KEPT, OPS: Outcome.REPLACED}
    assert not await can_read(two, lost, DAILY)
    assert await can_read(two, read(tmp_path, OPS), RAW)


async def test_token_of_a_wider_scope_in_a_file_is_replaced(two: Given, tmp_path: Path) -> None:
    async with two.influx() as influx:
        await ensure(influx, RETENTION)
        await issue(influx, tmp_path, rotate=False)
        (tmp_path / "grafana-community.token").write_text(two.token)
        again = {one.role: one.outcome for one in await issue(influx, tmp_path, rotate=False)}
    assert again[COMMUNITY] is Outcome.REPLACED
    assert not await can_read(two, read(tmp_path, COMMUNITY), RAW)


async def rotated_in_two_steps(given: Given, directory: Path) -> None:
    """A rotation: old and new work until it is finished, then the new ones alone."""
    async with given.influx() as influx:
        await ensure(influx, RETENTION)
        await issue(influx, directory, rotate=False)
        for _ in range(3):
            old = [read(directory, role) for role in ROLES]
            again = await issue(influx, directory, rotate=True)
            assert [one.outcome for one in again] == [Outcome.REPLACED] * 3
            new = [read(directory, role) for role in ROLES]
            assert not set(old) & set(new)
            assert [await can_read(given, token, DAILY) for token in [*old, *new]] == [True] * 6
            # Neither a start of the one-shot nor a second rotation ends what readers hold.
            for rotate in (False, True):
                kept_all = await issue(influx, directory, rotate=rotate)
                assert [one.outcome for one in kept_all] == [Outcome.KEPT] * 3
            assert [await can_read(given, token, DAILY) for token in [*old, *new]] == [True] * 6
            await assert_scopes(given, directory)
            assert await finish(influx, directory) == dict.fromkeys(ROLES, 1)
            assert [await can_read(given, token, DAILY) for token in old] == [False] * 3
            await assert_scopes(given, directory)
            assert await finish(influx, directory) == {}


async def test_rotated_token_works_until_the_rotation_is_finished(
    two: Given, tmp_path: Path
) -> None:
    await rotated_in_two_steps(two, tmp_path)


async def test_rotation_is_not_finished_with_a_new_token_that_does_not_work(
    two: Given, tmp_path: Path
) -> None:
    async with two.influx() as influx:
        await ensure(influx, RETENTION)
        await issue(influx, tmp_path, rotate=False)
        old = read(tmp_path, OPS)
        await issue(influx, tmp_path, rotate=True)
        new = read(tmp_path, OPS)
        for identity in await asyncio.to_thread(Tokens(influx).ids, OPS):
            if identity not in json.loads((tmp_path / "grafana-ops.rotation").read_text())["ended"]:
                await asyncio.to_thread(Tokens(influx).remove, identity)
        assert not await can_read(two, new, DAILY)
        with pytest.raises(RotationError, match=r"grafana-ops\.token .* does not work"):
            await finish(influx, tmp_path)
    assert await can_read(two, old, DAILY)


async def test_rotation_that_stopped_before_its_new_token_was_laid_down_ends_nothing(
    two: Given, tmp_path: Path
) -> None:
    async with two.influx() as influx:
        await ensure(influx, RETENTION)
        await issue(influx, tmp_path, rotate=False)
        old = read(tmp_path, OPS)
        await issue(influx, tmp_path, rotate=True)
        (tmp_path / "grafana-ops.token").write_text(old)
        assert OPS not in await finish(influx, tmp_path)
        assert await can_read(two, old, DAILY)


async def test_collectors_own_token_may_change_retention_but_make_nothing(
    two: Given, tmp_path: Path
) -> None:
    async with two.influx() as influx:
        await ensure(influx, RETENTION)
        await issue(influx, tmp_path, rotate=False)
    async with two.influx(read(tmp_path, COLLECTOR)) as influx:
        assert await ensure(influx, RETENTION) == []
        await set_retention(influx, RAW, 100 * 86_400)
        assert await retentions(influx, (RAW, DAILY)) == {RAW: 100 * 86_400, DAILY: 0}
        with pytest.raises(InfluxError, match="organisation"):
            await issue(influx, tmp_path, rotate=True)
    async with two.influx(read(tmp_path, COMMUNITY)) as influx:
        assert await retentions(influx, (RAW, DAILY)) == {RAW: None, DAILY: 0}
        with pytest.raises(NotPermitted, match="may not change the retention"):
            await set_retention(influx, DAILY, 86_400)


async def test_wrong_token_org_or_address_is_said_in_words(two: Given, tmp_path: Path) -> None:
    async with two.influx("wrong") as influx:
        with pytest.raises(NotPermitted, match="COLLECTOR_INFLUX_TOKEN"):
            await ensure(influx, RETENTION)
    async with two.influx(org="nobody") as influx:
        with pytest.raises(InfluxError, match="no organisation 'nobody'"):
            await ensure(influx, RETENTION)
        with pytest.raises(InfluxError, match="no organisation 'nobody'"):
            await issue(influx, tmp_path, rotate=False)
    async with two.influx(org="") as influx:
        with pytest.raises(InfluxError, match="COLLECTOR_INFLUX_ORG"):
            await issue(influx, tmp_path, rotate=False)
    async with Influx(f"http://127.0.0.1:{embedded.free_port()}", token="t", org="o") as influx:
        with pytest.raises(InfluxUnavailable):
            await issue(influx, tmp_path, rotate=False)


async def test_bucket_is_asked_for_its_size_on_disk(two: Given) -> None:
    if two.stands_in is None:
        pytest.skip("a real InfluxDB 2 measures its shards now and then only")
    async with two.influx() as influx:
        await ensure(influx, RETENTION)
        found = await usage(influx, DAILY)
    assert found.disk_bytes == 3000


async def test_server_that_hides_tokens_keeps_a_file_that_works(tmp_path: Path) -> None:
    async with TestServer(InfluxTwo(hides_tokens=True).application()) as running:
        given = Given(str(running.make_url("")).rstrip("/"), OPERATOR, ORG, "")
        async with given.influx() as influx:
            await ensure(influx, RETENTION)
            await issue(influx, tmp_path, rotate=False)
            again = await issue(influx, tmp_path, rotate=False)
    assert [one.outcome for one in again] == [Outcome.KEPT] * 3


# InfluxDB 1.x


async def test_three_users_reach_exactly_what_they_should(guarded: Given, tmp_path: Path) -> None:
    async with guarded.influx() as influx:
        await ensure(influx, RETENTION)
        made = await issue(influx, tmp_path, rotate=False)
        assert [one.outcome for one in made] == [Outcome.MADE] * 3
        assert read(tmp_path, OPS).startswith(f"{label(influx, OPS)}:")
    await assert_scopes(guarded, tmp_path)
    encoded = (tmp_path / "grafana-ops.header").read_text().removeprefix("Basic ")
    assert base64.b64decode(encoded).decode() == read(tmp_path, OPS)


async def test_second_run_keeps_every_password(guarded: Given, tmp_path: Path) -> None:
    async with guarded.influx() as influx:
        await ensure(influx, RETENTION)
        await issue(influx, tmp_path, rotate=False)
        before = [read(tmp_path, role) for role in ROLES]
        again = await issue(influx, tmp_path, rotate=False)
    assert [one.outcome for one in again] == [Outcome.KEPT] * 3
    assert [read(tmp_path, role) for role in ROLES] == before


async def test_lost_password_ends_and_nobody_else_s(guarded: Given, tmp_path: Path) -> None:
    async with guarded.influx() as influx:
        await ensure(influx, RETENTION)
        await issue(influx, tmp_path, rotate=False)
        lost = read(tmp_path, OPS)
        (tmp_path / "grafana-ops.token").unlink()
        again = {one.role: one.outcome for one in await issue(influx, tmp_path, rotate=False)}
        assert again == {COLLECTOR: Outcome.KEPT, COMMUNITY: Outcome.KEPT, OPS: Outcome.REPLACED}
        assert not await can_read(guarded, lost, DAILY)
        # Lost in the middle of a rotation: both that there were end.
        rotated = read(tmp_path, OPS)
        await issue(influx, tmp_path, rotate=True)
        (tmp_path / "grafana-ops.token").unlink()
        await issue(influx, tmp_path, rotate=False)
        assert not await can_read(guarded, rotated, DAILY)
        assert (await finish(influx, tmp_path)).keys() == {COLLECTOR, COMMUNITY}
    await assert_scopes(guarded, tmp_path)


async def test_rotated_user_works_until_the_rotation_is_finished(
    guarded: Given, tmp_path: Path
) -> None:
    await rotated_in_two_steps(guarded, tmp_path)


def test_command_rotates_without_a_gap_and_finishes(guarded: Given, tmp_path: Path) -> None:
    def run(*options: str) -> str:
        done = command(guarded.environment, "provision", "--tokens-dir", tmp_path, *options)
        assert done.code == 0, done.err
        return done.out

    async def reads(*tokens: str) -> list[bool]:
        return [await can_read(guarded, token, DAILY) for token in tokens]

    run()
    old = read(tmp_path, COMMUNITY)
    assert "run this command with --finish" in run("--rotate")
    new = read(tmp_path, COMMUNITY)
    assert asyncio.run(reads(old, new)) == [True, True]
    assert "3 old credentials were deleted" in run("--finish")
    assert asyncio.run(reads(old, new)) == [False, True]
    assert "nothing was deleted" in run("--finish")
    assert "3 old credentials were deleted" in run("--rotate", "--finish")
    assert asyncio.run(reads(new, read(tmp_path, COMMUNITY))) == [False, True]


async def test_grants_that_grew_are_taken_back(guarded: Given, tmp_path: Path) -> None:
    async with guarded.influx() as influx:
        await ensure(influx, RETENTION)
        await issue(influx, tmp_path, rotate=False)
        await influx.query(None, f'GRANT ALL ON {DAILY} TO "{label(influx, COMMUNITY)}"')
        await influx.query(None, f'GRANT READ ON {RAW} TO "{label(influx, COMMUNITY)}"')
        again = await issue(influx, tmp_path, rotate=False)
    assert [one.outcome for one in again] == [Outcome.KEPT] * 3
    await assert_scopes(guarded, tmp_path)


async def test_scoped_user_needs_an_administrator_for_the_rest(
    guarded: Given, tmp_path: Path
) -> None:
    async with guarded.influx() as influx:
        await ensure(influx, RETENTION)
        await issue(influx, tmp_path, rotate=False)
    async with guarded.influx(read(tmp_path, COLLECTOR)) as influx:
        assert await ensure(influx, RETENTION) == []
        assert await retentions(influx, tuple(RETENTION)) == RETENTION
        assert (await usage(influx, RAW)).disk_bytes is None
        with pytest.raises(InfluxError, match="admin privilege"):
            await set_retention(influx, RAW, 100 * 86_400)
        with pytest.raises(NotPermitted, match="administrator"):
            await issue(influx, tmp_path, rotate=False)


async def test_start_that_may_not_lengthen_names_values_and_command(
    guarded: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with guarded.influx() as influx:
        await ensure(influx, RETENTION)
        await issue(influx, tmp_path, rotate=False)
    # No command of an earlier test has bound this one to its own output.
    monkeypatch.setattr("collector.retention.log", structlog.get_logger())
    async with guarded.influx(read(tmp_path, COLLECTOR)) as influx:
        with capture_logs() as logs:
            await prepare(influx, {RAW: 100 * 86_400, DAILY: 0})
        assert await retentions(influx, tuple(RETENTION)) == RETENTION
    assert [
        (log["log_level"], log["retention"], log["setting"], log["command"]) for log in logs
    ] == [("warning", "90d", "100d", "collector retention set --raw 100d")]


async def test_command_gives_the_live_database_to_the_collector_and_the_operators(
    guarded: Given, tmp_path: Path
) -> None:
    statsd = {"COLLECTOR_STATSD_LISTEN": "127.0.0.1:8125"}
    for environment in (guarded.environment | statsd, guarded.environment):
        done = command(environment, "provision", "--tokens-dir", tmp_path)
        assert done.code == 0, done.err
        assert ("made asterisk_live" in done.out) == ("COLLECTOR_STATSD_LISTEN" in environment)
        # A sender that is disabled takes nothing from the operators.
        await assert_scopes(guarded, tmp_path)


def test_command_makes_databases_and_users(guarded: Given, tmp_path: Path) -> None:
    done = command(guarded.environment, "provision", "--tokens-dir", tmp_path / "tokens")
    assert done.code == 0, done.err
    assert f"made {RAW}" in done.out
    assert "grafana-community.token" in done.out
    assert read(tmp_path / "tokens", COLLECTOR) not in done.out + done.err
    again = command(guarded.environment, "provision", "--tokens-dir", tmp_path / "tokens")
    assert again.code == 0
    assert "made" not in again.out
    # Of a sender that is enabled later neither the database nor the right is there.
    own = {
        "COLLECTOR_INFLUX_TOKEN": read(tmp_path / "tokens", COLLECTOR),
        "COLLECTOR_STATE_DIR": str(tmp_path / "state"),
        "COLLECTOR_STATSD_LISTEN": "127.0.0.1:8125",
    }
    checked = command(guarded.environment | own, "check")
    assert (checked.code, "WRONG asterisk_live is not there yet" in checked.out) == (1, True)
    assert "`collector provision` with an administrator's" in checked.out


def test_command_with_a_wrong_password_makes_nothing(guarded: Given, tmp_path: Path) -> None:
    wrong = guarded.environment | {"COLLECTOR_INFLUX_TOKEN": "admin:wrong"}
    done = command(wrong, "provision", "--tokens-dir", tmp_path / "tokens")
    assert done.code == 1
    assert "401" in done.err
    assert not (tmp_path / "tokens").exists()


def test_command_without_an_administrator_makes_databases_only(
    own_influx: embedded.EmbeddedInflux, tmp_path: Path
) -> None:
    environment = {"COLLECTOR_INFLUX_URL": own_influx.url}
    done = command(environment, "provision", "--tokens-dir", tmp_path / "tokens")
    assert done.code == 0
    assert f"made {DAILY}" in done.out
    assert "no users were made" in done.err


def test_command_warns_where_nobody_is_asked_for_a_password(
    own_influx: embedded.EmbeddedInflux, tmp_path: Path
) -> None:
    environment = {
        "COLLECTOR_INFLUX_URL": own_influx.url,
        "COLLECTOR_INFLUX_TOKEN": "admin:any",
    }
    done = command(environment, "provision", "--tokens-dir", tmp_path / "tokens")
    assert done.code == 0, done.err
    assert "auth-enabled" in done.err
    assert len(list((tmp_path / "tokens").iterdir())) == 6
