"""JSON Schema of the configuration file as people write it, for editors: `${…}` may stand for any value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from asrproxy.config.models import Configuration, ProviderEntry
from asrproxy.plugin import ProviderSettings, Wrapped

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE: Final = {"$ref": "#/$defs/Reference"}
_REFERENCE_SCHEMA: Final = {
    "type": "string",
    "pattern": r"\$\{[^}]*\}",
    "description": "Filled in at start: ${NAME}, ${NAME:-default} or ${file:/path}.",
}
_WRAPPED: Final = f".{Wrapped.__name__}"
_ANNOTATIONS: Final = ("title", "description", "default", "examples", "deprecated")
_LOOSE: Final = frozenset({"type", "format", "writeOnly", *_ANNOTATIONS})
"""Of a text without any other keyword every value is good, a reference too."""

Schema = dict[str, Any]


def schema(types: Mapping[str, type[ProviderSettings]]) -> Schema:
    """Draft 2020-12. types: the provider types that the file may use, with the settings of each."""
    document = Configuration.model_json_schema()
    definitions: Schema = document["$defs"]
    core = definitions.pop("ProviderEntry", ProviderEntry.model_json_schema())["properties"]
    definitions.pop("ProviderSettings", None)
    core.pop("settings")
    for name, settings in types.items():
        definitions |= _provider(name, settings, core)
    definitions["ProviderEntry"] = _entry(types)
    if any(name.endswith(_WRAPPED) for name in definitions):
        definitions |= _wrapped(types, definitions)
    document["$defs"] = {name: _open(each) for name, each in definitions.items()} | {"Reference": _REFERENCE_SCHEMA}
    opened: Schema = _open(document)
    return {"$schema": DIALECT, "title": "asrproxy configuration"} | opened


def _provider(name: str, settings: type[ProviderSettings], core: Schema) -> Schema:
    """The definitions of one provider type: its own settings beside the core's keys, its inner models under names of their own."""
    own = settings.model_json_schema(ref_template=f"#/$defs/{name}.{{model}}")
    inner = own.pop("$defs", {})
    inner.pop("ProviderSettings", None)
    own["properties"] = core | {"type": {"const": name, "description": "The provider type."}} | own.get("properties", {})
    own["required"] = ["type", *own.get("required", ())]
    return {f"{name}.{each}": definition for each, definition in inner.items()} | {name: own}


def _entry(types: Iterable[str], definition: str = "{}") -> Schema:
    """definition: the name under which a type's definition is found."""
    return {
        "type": "object",
        "description": "One configured provider; `type` picks the plugin.",
        "required": ["type"],
        "properties": {"type": {"enum": list(types), "description": "The provider type."}},
        "allOf": [
            {
                "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
                "then": {"$ref": f"#/$defs/{definition.format(name)}"},
            }
            for name in types
        ],
    }


def _wrapped(types: Iterable[str], definitions: Mapping[str, Schema]) -> dict[str, Schema]:
    """Providers inside other providers' settings: each type once more, without what belongs to the core."""
    core = set(ProviderEntry.model_fields) - {"type"}
    inside: dict[str, Schema] = {}
    for name in types:
        whole = definitions[name]
        inside[f"{name}.inside"] = whole | {"properties": {key: each for key, each in whole["properties"].items() if key not in core}}
    return inside | {name: _entry(types, "{}.inside") for name in definitions if name.endswith(_WRAPPED)}


def _open(node: Any) -> Any:
    """The schema with a reference allowed wherever a value has a form that a reference does not have."""
    if not isinstance(node, dict):
        return node
    opened = {key: value for key, value in node.items() if key != "title"}  # pydantic's titles say the key again
    if "$ref" in opened:
        opened.pop("default", None)  # a whole section; its keys say their own
    if "properties" in opened:
        opened["properties"] = {name: _open(each) for name, each in opened["properties"].items()}
    for keyword in ("items", "additionalProperties"):
        if keyword in opened:
            opened[keyword] = _open(opened[keyword])
    if "anyOf" in opened:
        branches = [each if _is_scalar(each) else _open(each) for each in opened["anyOf"]]
        opened["anyOf"] = [*branches, _REFERENCE] if any(map(_is_scalar, branches)) else branches
    elif _is_scalar(opened):
        form = {key: value for key, value in opened.items() if key not in _ANNOTATIONS}
        opened = {key: value for key, value in opened.items() if key in _ANNOTATIONS} | {"anyOf": [form, _REFERENCE]}
    return opened


def _is_scalar(node: Any) -> bool:
    if not isinstance(node, dict):
        return False
    if "enum" in node or "const" in node or node.get("type") in ("integer", "number", "boolean"):
        return True
    return node.get("type") == "string" and not set(node) <= _LOOSE
