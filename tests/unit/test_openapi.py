"""The OpenAPI document: every route is in it, all in it exists, and it holds together."""

from __future__ import annotations

import re

import pytest
from werkzeug.routing import Rule

from gateway.errors import by_code
from gateway.http import docs, openapi
from gateway.pipelines.options import BlurOptions
from tests.unit.http_fakes import app_of

DOCUMENT = openapi.document()


def documented():
    return {(path, verb.upper()) for path, item in DOCUMENT["paths"].items() for verb in item}


def routed():
    rules: list[Rule] = list(app_of().url_map.iter_rules())
    return {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method)
        for rule in rules
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }


def test_every_route_is_documented_and_every_documented_route_exists():
    assert documented() == routed()


def references(node):
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_reference_leads_somewhere():
    found = set(references(DOCUMENT))
    assert found
    for reference in found:
        node = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


def test_path_parameters_are_declared():
    for path, item in DOCUMENT["paths"].items():
        for operation in item.values():
            named = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path))


def test_every_operation_has_a_summary_and_answers():
    for item in DOCUMENT["paths"].values():
        for operation in item.values():
            assert operation["summary"] and operation["responses"]


def test_all_options_and_their_defaults_are_in_it():
    query = DOCUMENT["paths"]["/v1/blur"]["post"]["parameters"]
    schemas = {p["name"]: p["schema"] for p in query if p["name"] != "wait"}
    assert set(schemas) == set(BlurOptions().as_dict())
    for name, value in BlurOptions().as_dict().items():
        assert schemas[name].get("default", value) == value


@pytest.mark.parametrize("edge", ["minimum", "maximum"])
def test_the_ranges_are_the_parsers(edge):
    for parameter in DOCUMENT["paths"]["/v1/blur"]["post"]["parameters"]:
        schema = parameter["schema"]
        if edge in schema and parameter["name"] != "wait":
            BlurOptions.parse({parameter["name"]: schema[edge]})


def test_all_error_codes_are_listed():
    text = DOCUMENT["components"]["responses"]["Problem"]["description"]
    for code, kind in by_code().items():
        assert f"{kind.status} {code}" in text


def test_the_page_names_every_route_and_loads_nothing():
    page, policy = docs.render(DOCUMENT)
    for path, _ in documented():
        assert f"<code>{path}</code>" in page
    assert not re.search(r"(src|href)=\"(?!/|#)", page)
    assert "<script" not in page
    assert "default-src 'none'" in policy and "'unsafe" not in policy
