"""The service against its own description: schemathesis sends what ``/openapi.json`` allows, and
what it does not, to every route.

Checked of each answer: no server error, a documented status and content type, a body and
headers as the document has them, no method taken that it does not name.
"""

from __future__ import annotations

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from pytest import mark
from schemathesis import openapi as contract
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from schemathesis.specs.openapi.schemas import OpenApiSchema

from gateway.http import openapi
from tests.service.helpers import PATIENCE


def no_server_error(_context, response, case: schemathesis.Case) -> None:
    """503 alone is documented: with ``Retry-After``, or as the answer of ``/readyz``."""
    if response.status_code >= 500:
        busy = response.status_code == 503 and "retry-after" in response.headers
        assert busy or case.path == "/readyz", f"{response.status_code} {response.text[:300]}"


CHECKS = [
    no_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
    allow_header_conformance,
]
# Links that the tests' pod may follow: nothing beyond this machine.
contract.format("uri", st.sampled_from(["http://127.0.0.1:1/a.jpg", "http://[::1]/", "ftp://a/"]))


def described(*, edges: bool) -> OpenApiSchema:
    """The document; with ``edges`` also each schema's edges are tried, one after the other."""
    config = SchemathesisConfig.from_dict({"phases": {"coverage": {"enabled": edges}}})
    return contract.from_dict(openapi.document(), config=config)


BASE = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
NO_SEARCH = [Phase.explicit, Phase.generate]  # what fails is told, not made smaller


def ask(case: schemathesis.Case, url: str) -> None:
    response = case.call(base_url=url, timeout=PATIENCE)
    case.validate_response(response, checks=CHECKS)


def test_the_document_is_the_served_one(api):
    assert api.get("/openapi.json").json() == openapi.document()


@described(edges=False).parametrize()
@settings(max_examples=15, derandomize=True, phases=NO_SEARCH, **BASE)
def test_the_service_is_as_described(case, api):
    """A few cases of each route, the same each time."""
    ask(case, api.url)


@mark.long
@mark.timeout(0)
@described(edges=True).parametrize()
@settings(max_examples=200, phases=NO_SEARCH, **BASE)
def test_the_service_is_as_described_at_length(case, api):
    ask(case, api.url)
