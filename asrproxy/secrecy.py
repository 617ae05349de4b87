"""Secrets that must not be written anywhere, whoever quotes them."""

from __future__ import annotations

import json
import os
import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, SecretStr

SHORTEST: Final = 6
"""Characters: what is shorter would be found in every other word."""
MADE: Final = 64
"""Secrets made at run time that are remembered: tokens live for hours, and one is made at a time."""
SHOWN: Final = "***"

_NEEDED: Final = r"PATH|HOME|TMPDIR|LANG|LC_.*|LD_.*|DYLD_.*|PYTHON.*|VIRTUAL_ENV|COVERAGE_.*"


def bare_environment(more: str = "") -> dict[str, str]:
    """For a process of our own: of this one's environment, which may hold vendors' keys, what a program needs to start.

    more: a regular expression for the names of other variables that it is to have.
    """
    wanted = re.compile(f"{_NEEDED}|{more}" if more else _NEEDED)
    return {name: value for name, value in os.environ.items() if wanted.fullmatch(name)}


class Secrets:
    """Knows the configuration's secrets and the tokens that were made with them, and takes them out of a text.

    It is the second line of defence: events, error messages and bodies are written so that they hold none. Thread-safe.
    """

    def __init__(self, configuration: BaseModel | None = None) -> None:
        self._made: deque[str] = deque(maxlen=MADE)
        self._before: frozenset[str] = frozenset()
        self._configured: frozenset[str] = frozenset()
        self._forms: tuple[str, ...] = ()
        if configuration is not None:
            self.take(configuration)

    def take(self, configuration: BaseModel) -> None:
        """A configuration's secrets; those of the one before are still looked for, since its last requests may be under way."""
        self._before, self._configured = self._configured, frozenset(secrets_in(configuration))
        self._gather()

    def add(self, secret: str) -> None:
        """One that was made at run time."""
        if secret not in self._made:
            self._made.append(secret)
            self._gather()

    def cleaned(self, text: str) -> str:
        """The text without them."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, SHOWN)
        return text

    def _gather(self) -> None:
        forms = {form for secret in (*self._configured, *self._before, *self._made) if len(secret) >= SHORTEST for form in _forms(secret)}
        self._forms = tuple(sorted(forms, key=len, reverse=True))


def secrets_in(value: object) -> Iterator[str]:
    """Every SecretStr in settings, however deep; of an address, its password too."""
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        yield secret
        if "://" in secret:
            yield from filter(None, (_password(secret),))
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from secrets_in(getattr(value, name))
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from secrets_in(each)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from secrets_in(each)


def _password(address: str) -> str | None:
    try:
        return urlsplit(address).password
    except ValueError:
        return None


def _forms(secret: str) -> set[str]:
    """As it is, and as it stands in JSON, in an address and in a Python literal."""
    escaped = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    return {secret, quote(secret), quote(secret, safe="")} | escaped
