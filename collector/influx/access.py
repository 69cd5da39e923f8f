"""Access control in InfluxDB: scoped tokens on 2.x, users with grants on 1.x."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from influxdb_client import Authorization, InfluxDBClient, Permission, PermissionResource

from collector.influx.client import Influx
from collector.influx.errors import InfluxError, InfluxUnavailable
from collector.influx.quoting import identifier, string
from collector.influx.v2 import NotPermitted, api, bucket, organisation
from collector.schema import DAILY, OWNERS, RAW


@dataclass(frozen=True, slots=True)
class Role:
    """A program's role on a server: name, databases (each with whether it may write), purpose.

    Roles of one name are equal, whatever databases there are.
    """

    name: str
    databases: tuple[tuple[str, bool], ...] = field(compare=False)
    purpose: str


COLLECTOR: Final = Role(
    "collector",
    ((RAW, True), (DAILY, True), (OWNERS, True)),
    "the collector: reads and writes all its databases",
)
COMMUNITY: Final = Role(
    "grafana-community", ((DAILY, False),), "the community's Grafana: reads only the daily series"
)
OPS: Final = Role(
    "grafana-ops",
    ((RAW, False), (DAILY, False)),
    "the operators' Grafana: reads raw, daily and live data",
)
ROLES: Final = (COLLECTOR, COMMUNITY, OPS)


def roles(influx: Influx, of_senders: Collection[str] = ()) -> list[tuple[Influx, Role]]:
    """Each role with its server, where there are databases that belong to senders alone.

    The collector writes them, the operators' Grafana reads them, and the community's never does. If
    raw data has its own server, a role with databases on both is two, and the second's name ends
    with `-raw`.
    """
    own = {COLLECTOR: True, OPS: False}
    found = []
    for role in ROLES:
        added = ((name, own[role]) for name in of_senders) if role in own else ()
        databases = dict([*role.databases, *added])
        for server, names in influx.by_server(databases).items():
            name = role.name if server is influx else f"{role.name}-raw"
            held = tuple((one, databases[one]) for one in names)
            found.append((server, replace(role, name=name, databases=held)))
    # Those of the first server come first, as it is provisioned first.
    return sorted(found, key=lambda one: influx.servers().index(one[0]))


def label(influx: Influx, role: Role) -> str:
    """The name of a role's user on 1.x, and the description of its tokens on 2.x."""
    return f"{influx.name('usage')}-{role.name}"


async def works(influx: Influx, credential: str, database: str = DAILY) -> bool:
    """Whether a credential of this server can read a database. Raises InfluxUnavailable."""
    try:
        async with replace(influx, token=credential, retry_ping=False, raw=None) as other:
            await other.query(database, "SHOW MEASUREMENTS LIMIT 1")
    except InfluxUnavailable:
        raise
    except InfluxError:
        return False
    return True


class Tokens:
    """Tokens of InfluxDB 2. The methods block, so call them in a thread; all raise InfluxError."""

    def __init__(self, influx: Influx) -> None:
        self._influx = influx

    def holds(self, role: Role, token: str) -> bool:
        """Whether a token belongs to the role, is active, and has exactly the role's permissions.

        On a server that hides tokens, any token of the role with these permissions is enough.
        """
        with api(self._influx, "list tokens") as client:
            wanted = _as_set(self._permissions(client, role))
            fit = [
                one.token
                for one in self._of(client, role)
                if one.status == "active" and _as_set(one.permissions) == wanted
            ]
        return token in fit or (bool(fit) and not any(fit))

    def make(self, role: Role) -> tuple[str, str]:
        """Create a token; return its id and the token."""
        with api(self._influx, "make tokens") as client:
            made = client.authorizations_api().create_authorization(
                authorization=Authorization(
                    org_id=organisation(client, self._influx).id,
                    permissions=self._permissions(client, role),
                    description=label(self._influx, role),
                )
            )
            return str(made.id), str(made.token)

    def remove(self, *ids: str) -> None:
        """Delete the tokens with these ids."""
        with api(self._influx, "remove tokens") as client:
            for one in ids:
                client.authorizations_api().delete_authorization(one)

    def ids(self, role: Role) -> list[str]:
        """The ids of all tokens of a role."""
        with api(self._influx, "list tokens") as client:
            return [str(found.id) for found in self._of(client, role)]

    def _of(self, client: InfluxDBClient, role: Role) -> list[Authorization]:
        found: Iterable[Authorization] = client.authorizations_api().find_authorizations(
            org_id=organisation(client, self._influx).id
        )
        described = label(self._influx, role)
        return [one for one in found if one.description == described]

    def _permissions(self, client: InfluxDBClient, role: Role) -> list[Permission]:
        org_id = organisation(client, self._influx).id
        permissions = []
        for database, may_write in role.databases:
            found = bucket(client, self._influx, database)
            if found is None:
                name = self._influx.name(database)
                raise InfluxError(f"InfluxDB shows no bucket {name} to this token")
            resource = PermissionResource(type="buckets", id=found.id, org_id=org_id)
            actions = ("read", "write") if may_write else ("read",)
            permissions += [Permission(action=action, resource=resource) for action in actions]
        return permissions


def _as_set(permissions: Iterable[Permission]) -> set[tuple[str, str, str | None]]:
    return {(one.action, one.resource.type, one.resource.id) for one in permissions}


class Users:
    """Users of InfluxDB 1.x. All methods raise InfluxError."""

    def __init__(self, influx: Influx) -> None:
        self._influx = influx

    async def names(self) -> set[str]:
        """The names of all users. Raises NotPermitted if our user is not an administrator."""
        try:
            found = await self._influx.query(None, "SHOW USERS")
        except InfluxUnavailable:
            raise
        except InfluxError as error:
            raise NotPermitted(
                f"the user may not manage users ({error}): {self._influx.variables}_TOKEN must be"
                " `user:password` of an administrator"
            ) from error
        return {row[0] for series in found for row in series.values}

    def of(self, role: Role) -> tuple[str, str]:
        """The two user names of a role; a rotation switches from one to the other.

        A user has only one password, so two valid credentials need two users.
        """
        name = label(self._influx, role)
        return name, f"{name}-2"

    async def put(self, name: str, password: str) -> None:
        """Create a user with this password, or set the password of an existing user."""
        if name in await self.names():
            statement = f"SET PASSWORD FOR {identifier(name)} = {string(password)}"
        else:
            statement = f"CREATE USER {identifier(name)} WITH PASSWORD {string(password)}"
        await self._influx.query(None, statement)

    async def remove(self, name: str) -> None:
        """Delete a user if it exists."""
        if name in await self.names():
            await self._influx.query(None, f"DROP USER {identifier(name)}")

    async def grant(self, user: str, role: Role) -> bool:
        """Give a user exactly the privileges of a role; return False if it had them already."""
        name = identifier(user)
        wanted = {
            self._influx.name(database): "ALL PRIVILEGES" if may_write else "READ"
            for database, may_write in role.databases
        }
        found = await self._influx.query(None, f"SHOW GRANTS FOR {name}")
        held = {
            database: privilege
            for series in found
            for database, privilege in series.values
            if privilege != "NO PRIVILEGES"
        }
        if held == wanted:
            return False
        for database in held.keys() - wanted.keys():
            await self._influx.query(
                None, f"REVOKE ALL PRIVILEGES ON {identifier(database)} FROM {name}"
            )
        for database, privilege in wanted.items():
            # A grant replaces the previous one, even by a narrower one.
            await self._influx.query(None, f"GRANT {privilege} ON {identifier(database)} TO {name}")
        return True
