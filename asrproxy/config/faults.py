"""What pydantic says about values, as sentences at places of the file that show no value from outside it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from asrproxy.config.document import Path, Value
from asrproxy.units import Misplaced

HIDDEN: Final = "***"
_NOTHING: Final = "; nothing is written here"
_SHORT: Final = 3
_KEY: Final = re.compile(r"[^\W\d][\w .-]{0,47}")

_EXPECTED: Final[Mapping[str, str]] = {
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_parsing_size": "expected a smaller number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "finite_number": "expected a finite number",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "path_type": "expected a path",
    "dict_type": "expected a mapping",
    "model_type": "expected a mapping",
    "model_attributes_type": "expected a mapping",
    "mapping_type": "expected a mapping",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "set_type": "expected a list",
    "missing": "is needed",
    "none_required": "expected nothing (null)",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: where, by key path, and what was expected. quotes: the words are a validator's and may hold the value."""

    path: Path
    message: str
    quotes: bool = False


def faults_of(error: ValidationError, value: Value, model: type[BaseModel]) -> list[Fault]:
    """The faults of a value that `model` refuses, at paths below it. Several at one place (the branches of a union) become one."""
    merged: dict[Path, list[Fault]] = {}
    errors = error.errors(include_url=False)
    for each in errors:
        # pydantic does not count what it refused: a list of one bad item would be empty, too.
        if each["type"] == "too_short" and any(_inside(other["loc"], each["loc"]) for other in errors):
            continue
        fault = _placed(each, value, model)
        merged.setdefault(fault.path, []).append(fault)
    return [
        Fault(path, _either(list(dict.fromkeys(fault.message for fault in faults))), any(fault.quotes for fault in faults))
        for path, faults in merged.items()
    ]


def secrets_of(model: type[BaseModel], value: Value) -> Iterator[str]:
    """The texts that a model takes for secrets, as they stand in the file."""
    if not isinstance(value, dict):
        return
    for name, field in model.model_fields.items():
        if name not in value:
            continue
        parts = list(_parts(field.annotation))
        if SecretStr in parts:
            yield from texts(value[name])
        for part in parts:
            if isinstance(part, type) and issubclass(part, BaseModel):
                given = value[name]
                for each in _each(given):
                    yield from secrets_of(part, each)


def texts(value: Value) -> Iterator[str]:
    """Every scalar of a value, as text."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts(each)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def hide(message: str, values: Iterable[tuple[str, str]]) -> str:
    """The message with each value replaced by what may be shown in its place, the longest first; a short one only where it is a word."""
    shown = {form: instead for value, instead in values for form in (value, repr(value)[1:-1]) if form.strip()}
    if not shown:
        return message
    forms = [re.escape(form) if len(form) > _SHORT else rf"(?<!\w){re.escape(form)}(?!\w)" for form in sorted(shown, key=len, reverse=True)]
    return re.sub("|".join(forms), lambda match: shown[match[0]], message)


def step(value: Value, part: str | int) -> tuple[bool, Value]:
    """Whether a value has a key or place, and what is there."""
    if isinstance(value, dict) and isinstance(part, str) and part in value:
        return True, value[part]
    if isinstance(value, list) and isinstance(part, int) and 0 <= part < len(value):
        return True, value[part]
    return False, None


def written(path: Path) -> str:
    """`routes.default.providers[1]`; keys that are no names are not shown, they may be a value that slipped."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _KEY.fullmatch(part) else "…")
    return text


def _inside(one: Path, other: Path) -> bool:
    return len(one) > len(other) and one[: len(other)] == other


def _placed(error: ErrorDetails, value: Value, model: type[BaseModel]) -> Fault:
    kind, cause = error["type"], error.get("ctx", {}).get("error")
    path, here = _path(error["loc"], value, keep_last=kind == "missing")
    if isinstance(cause, Misplaced):
        below, _ = _path(cause.at, here, keep_last=isinstance(here, dict))
        return Fault((*path, *below), str(cause), quotes=True)
    if kind == "extra_forbidden":
        return Fault(path, _unknown(str(path[-1]) if path else "", _known(model, path[:-1])))
    if kind in ("value_error", "assertion_error"):
        return Fault(path, str(cause) or "is not valid", quotes=True)
    message = _message(error)
    if message is None:
        return Fault(path, re.sub(r"^(Input|Value|String|Tuple|List|Dictionary) should", "expected to", error["msg"]), quotes=True)
    if here is None and message.startswith("expected"):
        message += _NOTHING
    return Fault(path, message)


def _path(loc: tuple[str | int, ...], value: Value, *, keep_last: bool) -> tuple[Path, Value]:
    """pydantic's location without what is not in the file: names of a union's branches, fields that a validator made."""
    path: list[str | int] = []
    for place, part in enumerate(loc):
        found, below = step(value, part)
        if found:
            value = below
        elif not (keep_last and place == len(loc) - 1 and isinstance(part, str)):
            continue
        path.append(part)
    return tuple(path), value


def _message(error: ErrorDetails) -> str | None:
    """The sentence of a common kind of error; none of these holds the value."""
    kind, context = error["type"], error.get("ctx", {})
    match kind:
        case "string_type":
            number = isinstance(error["input"], int | float) and not isinstance(error["input"], bool)
            return "expected text; a number that is meant as text goes into quotes" if number else "expected text"
        case "literal_error" | "enum":
            return f"expected {context['expected']}"
        case "greater_than_equal":
            return f"expected a value of at least {context['ge']:g}"
        case "greater_than":
            return f"expected a value above {context['gt']:g}"
        case "less_than_equal":
            return f"expected a value of at most {context['le']:g}"
        case "less_than":
            return f"expected a value below {context['lt']:g}"
        case "too_short" if context["min_length"] == 1:
            return "is empty; expected at least one"
        case "string_too_short" if context["min_length"] == 1:
            return "is empty"
        case _:
            return _EXPECTED.get(kind)


def _either(messages: list[str]) -> str:
    """The messages of a union's branches as one: `expected a whole number, or 'auto'`."""
    if len(messages) > 1 and all(message.startswith("expected ") for message in messages):
        nothing = _NOTHING if all(message.endswith(_NOTHING) for message in messages) else ""
        return "expected " + ", or ".join(message.removeprefix("expected ").removesuffix(nothing) for message in messages) + nothing
    return "; ".join(messages)


def _unknown(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1) if _KEY.fullmatch(key) else []
    if near:
        return f"unknown key; did you mean {near[0]}?"
    return f"unknown key; known are {', '.join(known)}" if known else "unknown key"


def _known(model: type[BaseModel], path: Path) -> list[str]:
    """The keys that the models at a path take."""
    models = [model]
    for part in path:
        fields = [each.model_fields[part] for each in models if part in each.model_fields] if isinstance(part, str) else []
        if fields:  # else a name in a mapping or a place in a list: the models stay
            models = [kind for each in fields for kind in _parts(each.annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return list(dict.fromkeys(name for each in models for name in each.model_fields))


def _parts(annotation: Any) -> Iterator[Any]:
    """A type and everything that it is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


def _each(value: Value) -> Iterator[Value]:
    """A value, and where it is a container what it holds: a model may stand at either."""
    yield value
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value
