"""``/docs``: the OpenAPI document as one page of plain HTML, with nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from typing import Any

Node = dict[str, Any]

_STYLE = """
:root { color-scheme: light dark; --edge: color-mix(in srgb, currentColor 20%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
section { border: 1px solid var(--edge); border-radius: .6rem; padding: .2rem 1.2rem 1rem; }
section { margin: 1.2rem 0; }
h2 code { font-size: 1em; }
.verb { display: inline-block; min-width: 4.2rem; font-weight: 700; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; }
th, td { border-bottom: 1px solid var(--edge); }
pre { overflow: auto; padding: .8rem; border: 1px solid var(--edge); border-radius: .4rem; }
"""
_VERBS = ("get", "post", "put", "delete")


def render(document: Node) -> tuple[str, str]:
    """The page, and the Content-Security-Policy that lets only its own style in."""
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'"
    info = document["info"]
    routes = "".join(
        _operation(path, verb, item[verb])
        for path, item in document["paths"].items()
        for verb in _VERBS
        if verb in item
    )
    schemas = "".join(_schema(name, node) for name, node in _schemas(document).items())
    problem = document["components"]["responses"]["Problem"]["description"]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])}: the API</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(info['title'])}</h1><p>{escape(info['summary'])} "
        f"{escape(info['description'])}</p>"
        '<p>For programs: <a href="/openapi.json">openapi.json</a>. '
        '<a href="/">The web page</a>.</p>'
        f"{routes}<h1>Errors</h1><p>{escape(problem)}</p><h1>Objects</h1>{schemas}</body></html>"
    )
    return page, policy


def _operation(path: str, verb: str, node: Node) -> str:
    answers = "".join(
        f"<tr><td><code>{escape(status)}</code></td><td>{_answer(answer)}</td></tr>"
        for status, answer in node["responses"].items()
    )
    return (
        f'<section><h2><span class="verb">{verb.upper()}</span><code>{escape(path)}</code></h2>'
        f"<p><strong>{escape(node['summary'])}.</strong> {escape(node.get('description', ''))}</p>"
        f"{_parameters(node)}{_bodies(node)}<h3>Answers</h3><table>{answers}</table></section>"
    )


def _parameters(node: Node) -> str:
    rows = "".join(
        _row(f"{item['name']} ({item['in']})", item["schema"], item.get("description", ""))
        for item in node.get("parameters", ())
    )
    return f"<h3>Parameters</h3><table>{rows}</table>" if rows else ""


def _bodies(node: Node) -> str:
    parts = []
    for media, content in node.get("requestBody", {}).get("content", {}).items():
        for schema in content["schema"].get("anyOf", [content["schema"]]):
            rows = "".join(
                _row(name, item, item.get("description", ""))
                for name, item in schema["properties"].items()
            )
            parts.append(f"<h3>Body: <code>{escape(media)}</code></h3><table>{rows}</table>")
    return "".join(parts)


def _answer(node: Node) -> str:
    if "$ref" in node:
        return '<a href="#Problem">a problem</a>'
    names = [
        _type(content["schema"]) + f" as <code>{escape(media)}</code>"
        for media, content in node.get("content", {}).items()
    ]
    return f"{escape(node['description'])} {', '.join(names)}"


def _row(name: str, schema: Node, description: str) -> str:
    default = (
        f", default <code>{escape(str(schema['default']))}</code>" if "default" in schema else ""
    )
    return (
        f"<tr><td><code>{escape(name)}</code></td><td>{_type(schema)}{default}</td>"
        f"<td>{escape(description)}</td></tr>"
    )


def _type(schema: Node) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rsplit("/", 1)[1])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(item) for item in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(item))}</code>" for item in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    kind = schema.get("type", "any")
    text = " or ".join(kind) if isinstance(kind, list) else kind
    if "minimum" in schema and "maximum" in schema:
        text += f" {schema['minimum']} to {schema['maximum']}"
    return escape(text)


def _schemas(document: Node) -> Node:
    return dict(document["components"]["schemas"])


def _schema(name: str, node: Node) -> str:
    text = escape(json.dumps(node, indent=1))
    rows = "".join(
        _row(key, item, item.get("description", "")) for key, item in node["properties"].items()
    )
    return (
        f'<section id="{escape(name)}"><h2>{escape(name)}</h2><table>{rows}</table>'
        f"<details><summary>JSON Schema</summary><pre>{text}</pre></details></section>"
    )
