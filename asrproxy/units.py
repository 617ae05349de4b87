"""The base of every settings class, and the types whose values people write with units: `250ms`, `10MiB`, `150/s`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticKnownError

__all__ = ["HeaderName", "Misplaced", "Rate", "Seconds", "SecretLine", "SecretStr", "Section", "Size", "duration", "rate", "size"]

_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES: Final = {
    "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_LARGEST: Final = 1e15
_NUMBER: Final = re.compile(r"\d{1,15}(?:\.\d{1,25})?")
_DURATION: Final = re.compile(r"(?:\d{1,15}(?:\.\d{1,15})?(?:us|ms|s|m|h|d))+")
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d)")
_SIZE: Final = re.compile(r"(\d{1,15}(?:\.\d{1,15})?) ?(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)")
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_RATE: Final = re.compile(r"(\d{1,15}(?:\.\d{1,15})?) ?/ ?(s|m|h|d)")


class Section(BaseModel):
    """A mapping of the configuration file: unknown keys are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        """pydantic reads `true` as 1; whoever wrote it meant something else."""
        if isinstance(value, bool) and info.field_name and (kind := _number(cls.model_fields[info.field_name].annotation)):
            raise PydanticKnownError("int_type" if kind is int else "float_type")
        return value

    @model_validator(mode="before")
    @classmethod
    def _numbers_from_outside(cls, value: object) -> object:
        """What `${…}` filled in is text: pydantic reads numbers from it, but no choice among numbers (`Literal[8000, 16000]`)."""
        choices = _number_choices(cls)
        if not choices or not isinstance(value, Mapping):
            return value
        return {key: choices.get(key, {}).get(each, each) if isinstance(each, str) else each for key, each in value.items()}


@cache
def _number_choices(section: type[BaseModel]) -> Mapping[str, Mapping[str, int]]:
    """The keys whose values are a choice among numbers: each number by how it is written."""
    found = {
        name: {str(each): each for each in _literals(field.annotation) if type(each) is int} for name, field in section.model_fields.items()
    }
    return {name: numbers for name, numbers in found.items() if numbers}


def _number(annotation: Any) -> type[int] | type[float] | None:
    """The kind of number that a value of this type may be; None: it may be a switch, or is no number."""
    kinds = get_args(annotation) or (annotation,)
    if bool in kinds:
        return None
    return int if int in kinds else float if float in kinds else None


def _literals(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(each for part in get_args(annotation) for each in _literals(part))


class Misplaced(ValueError):
    """A relation between keys that fails at one of them: raised by a model's validator, shown at `at`, a path below that model."""

    def __init__(self, message: str, *, at: tuple[str | int, ...]) -> None:
        super().__init__(message)
        self.at = at


def duration(value: object) -> float:
    """Seconds of `250ms`, `5s`, `2m`, `1h30m`; a bare number is seconds. Raises ValueError."""
    if (seconds := _bare(value)) is not None:
        return seconds
    if isinstance(value, str) and _DURATION.fullmatch(text := value.strip()):
        return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))
    raise ValueError("expected a duration such as 250ms, 5s, 2m or 1h")


def size(value: object) -> int:
    """Bytes of `10MiB`, `1GB`; a bare whole number is bytes. Raises ValueError."""
    if (count := _bare(value)) is not None and count.is_integer():
        return int(count)
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        return int(float(match[1]) * _BYTES[match[2]])
    raise ValueError("expected a size such as 512KiB, 10MiB or 1GiB")


def rate(value: object) -> float:
    """Events a second of `150/s`, `100/m`; a bare number is per second. Raises ValueError."""
    if (number := _bare(value)) is not None:
        return number
    if isinstance(value, str) and (match := _RATE.fullmatch(value.strip())):
        return float(match[1]) / _SECONDS[match[2]]
    raise ValueError("expected a rate such as 150/s or 100/m")


def _bare(value: object) -> float | None:
    """A number with no unit, also as text: what comes from an environment variable is always text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if abs(value) < _LARGEST else None
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value)
    return None


def _written(pattern: str, example: str, number: str) -> WithJsonSchema:
    text = {"type": "string", "pattern": f"^\\s*(?:{pattern}|{_NUMBER.pattern})\\s*$", "examples": [example]}
    return WithJsonSchema({"anyOf": [text, {"type": number, "minimum": 0}]})


def _one_line(value: SecretStr) -> SecretStr:
    if _CONTROL.search(value.get_secret_value()):  # and is not shown
        raise ValueError("holds a line break or another control character, which can be sent to nobody; was it copied with one?")
    return value


def _header_name(value: str) -> str:
    if not _HEADER.fullmatch(value):
        raise ValueError("expected the name of a header: letters, digits and hyphens")
    return value


SecretLine = Annotated[SecretStr, AfterValidator(_one_line)]
"""A key or token, which goes into a header or an address."""

HeaderName = Annotated[str, AfterValidator(_header_name)]

Seconds = Annotated[float, BeforeValidator(duration), Field(ge=0), _written(_DURATION.pattern, "5s", "number")]
Size = Annotated[int, BeforeValidator(size), Field(ge=0), _written(_SIZE.pattern, "10MiB", "integer")]
Rate = Annotated[float, BeforeValidator(rate), Field(gt=0), _written(_RATE.pattern, "150/s", "number")]
