"""Writes the tables of docs/configuration.md and docs/injection.md, and config/full.yaml: `python docs/generate_configuration.py`."""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
import types
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, BeforeValidator, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from asrproxy import units
from asrproxy.config.models import Configuration, ProviderEntry, RouteSettings
from asrproxy.discovery import GROUP, provider_type
from asrproxy.errors import ConfigError
from asrproxy.kube.settings import InjectionSettings
from asrproxy.plugin import Wrapped

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "configuration.md"
INJECTION: Final = ROOT / "docs" / "injection.md"
FULL: Final = ROOT / "config" / "full.yaml"
BEGIN: Final = "<!-- what follows is made by docs/generate_configuration.py -->\n"

HEAD: Final = """\
# Every key of the core with its default: a file that says what no file would say. Made by docs/generate_configuration.py.
# A provider type's own keys: docs/configuration.md, or `asrproxy schema` for editors.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if something is out of date")
    check = parser.parse_args().check
    stale = [path for path, text in outputs().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"{'out of date' if check else 'written'}: {path.relative_to(ROOT)}", file=sys.stderr)
        if not check:
            path.write_text(outputs()[path], encoding="utf-8")
    return 1 if check and stale else 0


def outputs() -> dict[Path, str]:
    """What each file should hold."""
    return {PAGE: prose(PAGE) + reference(), INJECTION: prose(INJECTION) + injection(), FULL: full()}


def prose(page: Path) -> str:
    """What is written by hand."""
    return page.read_text(encoding="utf-8").partition(BEGIN)[0] + BEGIN + "\n"


def injection() -> str:
    """Tables of the injection's settings."""
    models = [(name, model) for name, field in InjectionSettings.model_fields.items() if (model := model_of(field)) is not None]
    return "\n".join([table(InjectionSettings), *(section(name, model) for name, model in models)])


def reference() -> str:
    """Tables of all keys, section by section."""
    parts = ["## Reference\n"]
    for name, field in Configuration.model_fields.items():
        match name:
            case "providers":
                parts.append(
                    "### `providers.<name>`\n\nA name of your own for each; requests and routes use it.\n\n"
                    + table(ProviderEntry, skip={"settings"})
                )
            case "routes":
                parts.append(section("routes.<name>", RouteSettings))
            case _:
                parts.append(section(name, model_of(field), optional=field.default is None))
    parts.append("## Reference: provider types\n\nKeys of `providers.<name>` beside `type` and `policy`.\n")
    parts.extend(section(f"type: {name}", settings, prefix="") for name, settings in our_types())
    return "\n".join(parts)


def our_types() -> Iterator[tuple[str, type[BaseModel]]]:
    """The provider types of this package, not those that happen to be installed beside it."""
    for point in sorted(distribution("asrproxy").entry_points.select(group=GROUP), key=lambda point: point.name):
        try:
            yield point.name, provider_type(point.name).Settings
        except ConfigError as error:
            print(f"left out: {error}", file=sys.stderr)


def section(path: str, model: type[BaseModel], *, optional: bool = False, prefix: str | None = None, level: int = 3) -> str:
    """One model's table, then those of the models in it."""
    below = f"{path}." if prefix is None else prefix
    words = sentence(model)
    text = f"{'#' * level} `{path}`\n\n{words}{' Left out: off.' if optional else ''}\n\n{table(model)}"
    for name, field in model.model_fields.items():
        if (inner := model_of(field)) is not None:
            text += "\n" + section(f"{below}{name}", inner, level=min(level + 1, 5))
    return text


def sentence(model: type[BaseModel]) -> str:
    """A model's docstring without the key that it begins with: the heading says it."""
    words = re.sub(r"^`[^`]*`( as a mapping)?: ", "", " ".join((model.__doc__ or "").split()))
    return words[:1].upper() + words[1:]


def table(model: type[BaseModel], skip: frozenset[str] | set[str] = frozenset()) -> str:
    rows = ["| key | value | default | |", "| --- | --- | --- | --- |"]
    for name, field in model.model_fields.items():
        if name not in skip:
            rows.append(f"| `{name}` | {kind(field)} | {default(field)} | {field.description or ''} |".replace("  |", " |"))
    return "\n".join(rows) + "\n"


def model_of(field: FieldInfo) -> Any:
    """The model that a key's mapping is, None: it is no mapping with keys of ours, or its keys are another provider's."""
    models = (part for part in branches(field.annotation) if isinstance(part, type) and issubclass(part, BaseModel))
    return next((part for part in models if part is not Wrapped), None)


def branches(annotation: Any) -> Iterator[Any]:
    """The members of a union, or the one type; `Annotated` stays."""
    if get_origin(annotation) in (Union, types.UnionType):
        for each in get_args(annotation):
            yield from branches(each)
    else:
        yield annotation


def kind(field: FieldInfo) -> str:
    """What may be written, for people."""
    words = [named(each, field.metadata) for each in branches(field.annotation)]
    text = " or ".join(dict.fromkeys([*shorthand(field), *words]))
    limits = bounds(field.metadata)
    return f"{text}, {limits}" if limits else text


def shorthand(field: FieldInfo) -> tuple[str, ...]:
    """What a key takes in place of its mapping or list; such a validator says it for the JSON Schema, too."""
    for each in field.metadata:
        if isinstance(each, BeforeValidator) and each.json_schema_input_type is not PydanticUndefined:
            return tuple(named(branch, []) for branch in branches(each.json_schema_input_type))
    return ()


def named(annotation: Any, metadata: list[Any]) -> str:
    if get_origin(annotation) is Annotated:
        inner, *own = get_args(annotation)
        return named(inner, own)
    if (unit := unit_of(metadata)) is not None:
        return unit
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{written(each)}`" for each in arguments)
    if origin in (tuple, frozenset, list):
        return f"list of {named(arguments[0], [])}"
    if origin is dict:
        return f"mapping of {named(arguments[1], [])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    plain = {
        str: "text",
        int: "whole number",
        float: "number",
        bool: "`true`, `false`",
        Path: "path",
        SecretStr: "secret",
        type(None): "`null`",
    }
    return plain.get(annotation, str(getattr(annotation, "__name__", annotation)))


def unit_of(metadata: list[Any]) -> str | None:
    functions = {units.duration: "duration", units.size: "size", units.rate: "rate"}
    return next((functions[each.func] for each in metadata if isinstance(each, BeforeValidator) and each.func in functions), None)


def bounds(metadata: list[Any]) -> str:
    low = next((f"{each.ge:g}" for each in metadata if isinstance(each, Ge) and each.ge), None)
    above = next((f"{each.gt:g}" for each in metadata if isinstance(each, Gt)), None)
    high = next((plain(each.le) for each in metadata if isinstance(each, Le)), None)
    under = next((f"{each.lt:g}" for each in metadata if isinstance(each, Lt)), None)
    words = [f"above {above}" if above else f"from {low}" if low else "", f"to {high}" if high else f"below {under}" if under else ""]
    return " ".join(word for word in words if word)


def plain(limit: Any) -> str:
    return str(limit) if isinstance(limit, int) else f"{limit:g}"


def default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = value_of(field)
    if isinstance(value, BaseModel):
        return "see below"
    return f"`{written(value, field)}`"


def value_of(field: FieldInfo) -> Any:
    value = field.get_default(call_default_factory=True)
    return None if value is PydanticUndefined else value


def written(value: Any, field: FieldInfo | None = None) -> str:
    """A value as a person would write it in YAML."""
    unit = (
        None
        if field is None
        else next((unit for each in branches(field.annotation) if (unit := unit_of([*metadata_of(each), *field.metadata]))), None)
    )
    if unit is not None and isinstance(value, int | float) and not isinstance(value, bool):
        return {"duration": duration, "size": size, "rate": rate}[unit](value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, tuple | frozenset | list):
        texts = [written(each) for each in value]
        return f"[{', '.join(sorted(texts) if isinstance(value, frozenset) else texts)}]"  # a set's own order is another in each process
    return "{}" if value == {} else str(value)


def metadata_of(annotation: Any) -> list[Any]:
    return list(get_args(annotation)[1:]) if get_origin(annotation) is Annotated else []


def duration(seconds: float) -> str:
    if seconds >= 3600 and seconds % 3600 == 0:
        return f"{seconds / 3600:g}h"
    return f"{seconds * 1000:g}ms" if 0 < seconds < 1 else f"{seconds:g}s"


def size(count: float) -> str:
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count and count % factor == 0:
            return f"{count // factor:g}{unit}"
    return f"{count:g}B"


def rate(per_second: float) -> str:
    return f"{per_second:g}/s"


def full() -> str:
    """A file that names every key of the core with its default."""
    lines = [HEAD.rstrip()]
    for name, field in Configuration.model_fields.items():
        lines.append("")
        match name:
            case "providers":
                lines += [
                    "# Name to settings; `type` picks the plugin, `policy` here wins over the common one.",
                    "providers:",
                    "  local:",
                    "    type: local",
                ]
            case "routes":
                lines += [
                    "# Providers in the order in which they are tried. Left out: `default` is all of them.",
                    "routes:",
                    *tree_of_route(),
                ]
            case _:
                lines += comment(sentence(model_of(field)), 0)
                lines += tree(name, field, 0)
    return "\n".join(lines) + "\n"


def tree_of_route() -> list[str]:
    lines = ["  default:", "    providers: [local]"]
    for name, field in RouteSettings.model_fields.items():
        if name != "providers":
            lines += tree(name, field, 2)
    return lines


def tree(name: str, field: FieldInfo, depth: int) -> list[str]:
    """A key with its default; an optional mapping is null, with its keys in a comment."""
    pad = "  " * depth
    value, model = value_of(field), model_of(field)
    lines = comment(field.description or "", depth)
    if isinstance(value, BaseModel):
        lines.append(f"{pad}{name}:")
        for key, each in type(value).model_fields.items():
            lines += tree(key, each, depth + 1)
        return lines
    if model is not None:
        keys = ", ".join(f"{key}: {'…' if each.is_required() else scalar(each)}" for key, each in model.model_fields.items())
        return [*lines, *comment(f"or: {{{keys}}}", depth), f"{pad}{name}: null"]
    return [*lines, f"{pad}{name}: {scalar(field)}"]


def scalar(field: FieldInfo) -> str:
    text = written(value_of(field), field)
    return text if yaml.safe_load(text) in (text, value_of(field)) or text.startswith("[") else f'"{text}"'


def comment(text: str, depth: int) -> list[str]:
    pad = "  " * depth
    return textwrap.wrap(text, 118, initial_indent=f"{pad}# ", subsequent_indent=f"{pad}# ", break_long_words=False) if text else []


if __name__ == "__main__":
    sys.exit(main())
