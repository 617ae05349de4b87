"""CEL as an API server evaluates it in admission policies, by cel-python: what that lacks is given here by Kubernetes' own description.

cel-python parses and evaluates the expressions. It does not know, and this supplies:
 * `JSONPatch{…}` and `Object.a.b{…}`, the API server's types. An object's type has to be the path of the field that it is put into, which
   the API server checks too (CheckTypeNamesMatchFieldPathNames), and its fields have to be Kubernetes', which the tests check afterwards,
   by schema, on the patched pod;
 * Kubernetes' and cel-go's functions on lists, texts and quantities: `indexOf`, `max`, `split`, `quantity`, `compareTo`;
 * variables that are evaluated when they are first asked for.
Nothing here checks types ahead of time, as cel-go does, or counts an expression's cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import celpy
from celpy import celtypes
from celpy.evaluation import CELEvalError

from asrproxy.kube.quantity import amount


class CelFailure(Exception):
    """An expression that ended in an error."""


class Policy:
    """The `variables` of a policy, ready for requests."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self._variables = {each["name"]: Program(each["expression"]) for each in spec["variables"]}

    def evaluate(self, program: Program, pod: Mapping[str, Any], namespace_labels: Mapping[str, str]) -> Any:
        """The value as JSON has it. Raises CelFailure."""
        names: dict[str, Any] = {
            **TYPES,
            "object": celpy.json_to_cel(pod),
            "namespaceObject": celpy.json_to_cel({"metadata": {"labels": dict(namespace_labels)}}),
        }
        names["variables"] = _Lazy({name: partial(each.run, names) for name, each in self._variables.items()})
        return _plain(program.run(names))


class _Lazy(celtypes.MapType):
    """`variables`: each is evaluated at most once, and not before it is needed."""

    def __init__(self, makers: Mapping[str, Callable[[], Any]]) -> None:
        super().__init__()
        self._makers = makers

    def __contains__(self, name: object) -> bool:
        return name in self._makers

    def __getitem__(self, name: Any) -> Any:
        if not dict.__contains__(self, name):
            dict.__setitem__(self, name, self._makers[str(name)]())
        return dict.__getitem__(self, name)

    def get(self, name: Any, default: Any = None) -> Any:
        return self[name] if name in self._makers else default


class Program:
    """An expression, ready to be evaluated."""

    def __init__(self, expression: str) -> None:
        environment = celpy.Environment()
        self._runner = environment.program(environment.compile(expression), functions=FUNCTIONS)

    def run(self, names: Mapping[str, Any]) -> Any:
        """Raises CelFailure."""
        try:
            return self._runner.evaluate(dict(names))
        except CELEvalError as error:
            raise CelFailure(str(error).split("(in activation")[0]) from None


class Typed(celtypes.MapType):
    """An object of one of the API server's types."""

    def __init__(self, type_name: str, fields: Mapping[str, Any]) -> None:
        super().__init__({celtypes.StringType(name): value for name, value in fields.items()})
        self.type_name = type_name
        for name, value in fields.items():
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, Typed) and type_name != "JSONPatch" and each.type_name != f"{type_name}.{name}":
                    raise TypeError(f"{each.type_name} is no value for {name} of {type_name}")


class _Type(celtypes.MapType):
    """A type's name; a longer one with a dot behind it, an object of it with braces."""

    def __init__(self, name: str, fields: frozenset[str] | None = None) -> None:
        super().__init__()
        self._name, self._fields = name, fields

    def __getitem__(self, name: Any) -> Any:
        return _Type(f"{self._name}.{name}")

    def __call__(self, fields: Mapping[str, Any] | None) -> Typed:
        given = dict(fields or {})
        if self._fields is not None and not given.keys() <= self._fields:
            raise TypeError(f"{self._name} has no such field: {sorted(given)}")
        return Typed(self._name, given)


TYPES: dict[str, Any] = {"Object": _Type("Object"), "JSONPatch": _Type("JSONPatch", frozenset({"op", "path", "from", "value"}))}


class _Amount:
    """The value of `quantity()`."""

    def __init__(self, text: str) -> None:
        self.amount = amount(str(text))


def _compared(one: _Amount, other: _Amount) -> Any:
    return celtypes.IntType((one.amount > other.amount) - (one.amount < other.amount))


def _index(items: Any, wanted: Any) -> Any:
    return celtypes.IntType(next((place for place, each in enumerate(items) if each == wanted), -1))


def _split(text: Any, separator: Any) -> Any:
    return celtypes.ListType([celtypes.StringType(each) for each in str(text).split(str(separator))])


FUNCTIONS: dict[str, Any] = {
    "indexOf": _index,
    "max": max,
    "split": _split,
    "quantity": _Amount,
    "compareTo": _compared,
}


def _plain(value: Any) -> Any:
    if isinstance(value, CELEvalError):
        raise CelFailure(str(value))
    match value:
        case celtypes.BoolType():
            return bool(value)
        case dict():
            return {str(name): _plain(each) for name, each in value.items()}
        case list():
            return [_plain(each) for each in value]
        case str():
            return str(value)
        case int():
            return int(value)
        case _:
            return value
