"""Writes docs/http.md from the OpenAPI document that the sidecar serves: `python docs/generate_http.py`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from asrproxy.api.openapi import document
from asrproxy.api.problems import FACES, INTERNAL, METHOD_NOT_ALLOWED

PAGE: Final = Path(__file__).resolve().parent / "http.md"
HEAD: Final = """\
# HTTP reference
Made from the document at `/openapi.json` by `docs/generate_http.py`. Requests as code in several languages: [clients](clients.md); live
audio message by message: [live](live.md).

Every answer has `X-Request-Id`: the caller's own where one was sent, else a new one. Errors have one shape everywhere, and `Retry-After`
where a time is known:

```json
{"error": {"code": "rate_limited", "type": "rate_limit_error", "message": "…", "param": null, "retryable": true,
           "provider": "aliyun", "provider_status": 40000005, "request_id": "…", "segments": []}}
```
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if the page is out of date")
    text = page()
    if parser.parse_args().check:
        if PAGE.read_text("utf-8") != text:
            print("out of date: docs/http.md; run docs/generate_http.py", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(text, "utf-8")
    print("written: docs/http.md")
    return 0


def page() -> str:
    """The whole page."""
    described = document()
    parts = [HEAD, "\n".join(_errors())]
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            parts.append("\n".join(_operation(method.upper(), path, operation)))
    parts.append("\n".join(_shapes(described["components"]["schemas"])))
    return "\n".join(parts).rstrip() + "\n"


def _errors() -> Iterator[str]:
    yield "## Error codes"
    yield "| status | `code` | `type` |"
    yield "| --- | --- | --- |"
    told = {(face.status, face.code, face.type) for face in (*FACES.values(), INTERNAL, METHOD_NOT_ALLOWED) if face.status != 499}
    for status, code, kind in sorted(told):
        yield f"| {status} | `{code}` | `{kind}` |"
    yield ""


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {method} {path}"
    yield operation["summary"].rstrip(".") + "."
    if text := operation.get("description"):
        yield ""
        yield text
    yield ""
    if rows := list(_inputs(operation)):
        yield "| parameter | where | value | meaning |"
        yield "| --- | --- | --- | --- |"
        yield from rows
        yield ""
    yield "| status | body | what |"
    yield "| --- | --- | --- |"
    for status, answer in operation["responses"].items():
        bodies = ", ".join(f"`{kind}`" for kind in answer.get("content", {}))
        yield f"| {status} | {bodies} | {answer['description']} |"
    yield ""


def _inputs(operation: Mapping[str, Any]) -> Iterator[str]:
    """Parameters once each: most may stand in the query or in the form."""
    form: Mapping[str, Any] = operation.get("requestBody", {}).get("content", {}).get("multipart/form-data", {}).get("schema", {})
    fields = dict(form.get("properties", {}))
    for each in operation.get("parameters", ()):
        where = "query or form" if each["name"] in fields else each["in"]
        fields.pop(each["name"], None)
        yield f"| `{each['name']}` | {where} | {_value(each['schema'])} | {each.get('description', '')} |"
    for name, schema in fields.items():
        yield f"| `{name}` | form | {_value(schema)} | {schema.get('description', '')} |"


def _value(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        text = ", ".join(f"`{each}`" for each in schema["enum"])
    elif schema.get("type") == "array":
        text = f"{_value(schema['items'])}, may be repeated"
    else:
        text = "file" if schema.get("format") == "binary" else str(schema["type"])
    bounds = [
        f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("exclusiveMinimum", "over"), ("maximum", "to")) if key in schema
    ]
    default = f"; default `{schema['default']}`" if "default" in schema else ""
    return " ".join([text, *bounds]) + default


def _shapes(schemas: Mapping[str, Any]) -> Iterator[str]:
    for name in ("Transcript", "Segment"):
        yield f"## {name}"
        yield "| key | type | |"
        yield "| --- | --- | --- |"
        for key, schema in schemas[name]["properties"].items():
            kind = schema.get("type", schema.get("$ref", "").rpartition("/")[2])
            kind = " or ".join(kind) if isinstance(kind, list) else kind
            required = "always" if key in schemas[name]["required"] else "where there is something to say"
            yield f"| `{key}` | {kind} | {schema.get('description', required)} |"
        yield ""


if __name__ == "__main__":
    sys.exit(main())
