"""The OpenAPI document: valid, complete, and true of a real collector whatever it is asked."""

from __future__ import annotations

import re
import time
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks, positive_data_acceptance
from schemathesis.core.result import Ok

from collector.app import site_of
from collector.influx import Influx
from collector.intakes.asl.points import Accepted
from collector.intakes.proof import Proof
from collector.problems import Reason
from collector.public.series import PublicSeries
from collector.public.site import Site
from collector.settings import Settings
from tests.conftest import Serve
from tests.length import repeat
from tests.sender import encoded, get, post, report
from tests.unit.test_asl_conversion import converter
from tools.dashboards.asked import ROOT

pytestmark = pytest.mark.no_cover  # what other tests cover, in whole processes

load_all_checks()


def _site() -> Site:
    influx = Influx("http://127.0.0.1:1")
    return site_of(Settings(), influx, PublicSeries(influx))


def _operations(document: dict[str, Any]) -> list[Any]:
    found = list(schemathesis.openapi.from_dict(document).get_all_operations())
    assert all(isinstance(item, Ok) for item in found)
    return [item.ok() for item in found if isinstance(item, Ok)]


DOCUMENT = _site().openapi()
OPERATIONS = _operations(DOCUMENT)


def _body_of(path: str) -> jsonschema_rs.Draft202012Validator:
    """What the document says that the body of a POST may be."""
    content = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]
    schema = content["application/json"]["schema"] | {"components": DOCUMENT["components"]}
    return jsonschema_rs.Draft202012Validator(schema)


REPORT, PROOF = _body_of("/usage"), _body_of("/v1/my-data")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda item: item.label)
def test_no_request_gets_an_error_or_an_undocumented_answer(
    operation: Any, collector: Serve
) -> None:
    # Owners are answered after a multiple of half a second.
    examples = repeat(2, 20) if "my-data" in operation.path else repeat(6, 100)

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def ask(data: st.DataObject) -> None:
        mode = data.draw(st.sampled_from(GenerationMode))
        case = data.draw(operation.as_strategy(generation_mode=mode))
        # A span may be well-formed and end before it begins, a report may hold no public node.
        case.call_and_validate(base_url=collector.url, excluded_checks=[positive_data_acceptance])

    post(collector.url, encoded(report([2001])))
    ask()


FIELDS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 2**40),
    st.sampled_from(
        [1999, 2000, 2**31 - 1, 2**31, 10**30, "2000", " 02000\n", "1999", "2147483648"]
    ),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=300),
)
VALUES = st.recursive(
    FIELDS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.data())
def test_report_is_taken_just_where_it_fits_the_document(data: st.DataObject) -> None:
    """Whatever stands in whichever field: the document and the intake say the same of it."""
    said = report([511111])
    names = data.draw(st.lists(st.sampled_from([*said, "unheard-of"]), max_size=3, unique=True))
    for name in names:
        if data.draw(st.booleans()):
            said[name] = data.draw(VALUES)
        else:
            said.pop(name, None)
    body = encoded(said)
    taking = converter()
    stored = isinstance(taking.of(body, time.time_ns()), Accepted)
    assert stored == REPORT.is_valid(said), said
    assert isinstance(taking.identify(body), Proof) == PROOF.is_valid(said), said


def test_document_is_valid(collector: Serve) -> None:
    validate(get(collector.url, "/openapi.json").json)


def test_document_has_the_answers_to_a_report_that_the_table_in_the_docs_has() -> None:
    table = (ROOT / "docs/http.md").read_text("utf-8").split("### Responses to `POST /usage`")[1]
    told = set(re.findall(r"^\| (\d{3}) \|", table.split("For any request")[0], re.MULTILINE))
    assert DOCUMENT["paths"]["/usage"]["post"]["responses"].keys() == told


def test_every_public_route_is_documented() -> None:
    site = _site()
    documented = {
        (method.upper(), path)
        for path, operations in site.openapi()["paths"].items()
        for method in operations
    }
    routes: set[tuple[str, str]] = set()
    for route in site.routes():
        if route.method == "GET" and not re.search(r"^/usage/|./$", route.path):
            path = re.sub(r"{day:[^.]*}", "{day}", route.path)
            formats = ("json", "csv") if "{format:json|csv}" in path else ("",)
            routes |= {("GET", path.replace("{format:json|csv}", item)) for item in formats}
    owners = {("POST", f"/v1/my-data{end}") for end in ("", "/erase", "/opt-out", "/opt-in")}
    reporting = {("POST", "/usage"), ("POST", "/usage/usage")}
    assert routes | owners | reporting == documented


def test_document_names_every_reason(collector: Serve) -> None:
    schemas = get(collector.url, "/openapi.json").json["components"]["schemas"]
    assert set(schemas["Reason"]["enum"]) == {reason.value for reason in Reason}


def test_page_shows_every_address(collector: Serve) -> None:
    page = get(collector.url, "/api").body.decode()
    for path in get(collector.url, "/openapi.json").json["paths"]:
        assert f"<code>{path}</code>" in page


def test_names_are_told_apart(collector: Serve) -> None:
    operations = [
        operation
        for path in get(collector.url, "/openapi.json").json["paths"].values()
        for operation in path.values()
    ]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    assert all(operation["summary"] for operation in operations)
