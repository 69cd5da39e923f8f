"""The API document is true of LibreNMS's routes, and says the same of a report as the intake."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.core.result import Ok

from collector.app import site_of
from collector.influx import Influx
from collector.intakes.librenms.report import Reading, read
from collector.public.series import PublicSeries
from collector.settings import Settings
from tests.conftest import Databases, StartServe
from tests.length import repeat
from tests.librenms import report
from tests.sender import encoded, get

pytestmark = pytest.mark.no_cover  # what other tests cover, in whole processes

load_all_checks()

DOCUMENT = site_of(
    Settings(librenms=True),
    Influx("http://127.0.0.1:1"),
    PublicSeries(Influx("http://127.0.0.1:1")),
).openapi()
SCHEMA = DOCUMENT["paths"]["/log.php"]["post"]["requestBody"]["content"]["application/json"][
    "schema"
] | {"components": DOCUMENT["components"]}
REPORT = jsonschema_rs.Draft202012Validator(SCHEMA)

VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-5, 2**40),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=40),
    ),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.data())
def test_report_is_taken_just_where_it_fits_the_document(data: st.DataObject) -> None:
    said = report()
    for name in data.draw(st.lists(st.sampled_from([*said, "other"]), max_size=3, unique=True)):
        if data.draw(st.booleans()):
            said[name] = data.draw(VALUES)
        else:
            said.pop(name, None)
    assert isinstance(read(encoded(said)), Reading) == REPORT.is_valid(said), said


def operations() -> list[Any]:
    found = schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()
    return [item.ok() for item in found if isinstance(item, Ok) and ".php" in item.ok().path]


def test_no_request_gets_an_error_or_an_undocumented_answer(
    serve: StartServe, databases: Databases
) -> None:
    collector = serve(
        databases.environment | {"COLLECTOR_LIBRENMS": "1", "COLLECTOR_RATE_LIMIT": "0"}
    )
    validate(get(collector.url, "/openapi.json").json)
    page = get(collector.url, "/api").body.decode()
    known = operations()
    assert len(known) == 8
    assert all(f"<code>{operation.path}</code>" in page for operation in known)

    @settings(max_examples=repeat(25, 500), suppress_health_check=list(HealthCheck), deadline=None)
    @given(data=st.data())
    def ask(data: st.DataObject) -> None:
        operation = data.draw(st.sampled_from(known))
        mode = data.draw(st.sampled_from(GenerationMode))
        response = data.draw(operation.as_strategy(generation_mode=mode)).call(
            base_url=collector.url
        )
        # Another method has no route of ours.
        assert str(response.status_code) in {*operation.definition.raw["responses"], "405"}

    ask()
    assert "internal-error" not in collector.log.read_text()
