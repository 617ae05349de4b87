"""The configuration file to frozen settings: everything that is wrong with it is said at once, each with its line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path as FilePath
from typing import Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from asrproxy.config.document import Document, Path, Value, parse
from asrproxy.config.faults import HIDDEN, Fault, faults_of, hide, secrets_of, step, written
from asrproxy.config.models import Configuration, PolicySettings, ProviderEntry
from asrproxy.config.substitute import Substituted, files_named, substitute
from asrproxy.errors import ConfigError
from asrproxy.here import Purpose
from asrproxy.plugin import ProviderSettings, Wrapped

VARIABLE: Final = "ASRPROXY_CONFIG"
USUAL: Final = FilePath("config/asrproxy.yaml")
BUILTIN_NAME: Final = "built-in"
BUILTIN: Final = """
# What runs where there is no file: speech is recognised here, with no account and no network.
providers:
  local: {type: local}
"""

Model = TypeVar("Model", bound=BaseModel)

SettingsOf = Callable[[str], type[ProviderSettings]]
"""A provider type's settings class by its name; raises ConfigError when there is no such type."""

# An entry's keys that belong to the core; the others are the plugin's.
_CORE: Final = frozenset(ProviderEntry.model_fields) - {"settings"}


def find(given: FilePath | None, environ: Mapping[str, str]) -> FilePath | None:
    """The file to load: the one given, $ASRPROXY_CONFIG's, config/asrproxy.yaml where there is one; None: the built-in defaults."""
    if given is not None:
        return given
    if named := environ.get(VARIABLE):
        return FilePath(named)
    return USUAL if USUAL.is_file() else None


def load(
    path: FilePath | None, *, environ: Mapping[str, str], provider_settings: SettingsOf, purpose: Purpose = Purpose.READ
) -> Configuration:
    """The configuration of a file; None: the built-in defaults. Raises ConfigError, a line for each thing that is wrong.

    purpose: whether what its settings name has to be on this machine.
    """
    if path is None:
        return loads(BUILTIN, BUILTIN_NAME, environ=environ, provider_settings=provider_settings, purpose=purpose)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: the configuration cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: the configuration cannot be read: it is not UTF-8 text") from error
    return loads(text, str(path), environ=environ, provider_settings=provider_settings, folder=path.parent, purpose=purpose)


def sources(path: FilePath) -> tuple[FilePath, ...]:
    """The files that a configuration is made of: itself first, then those that its values name; itself only where it cannot be read."""
    try:
        document = parse(path.read_bytes().decode("utf-8-sig"), str(path))
    except (OSError, ValueError, ConfigError):
        return (path,)
    return (path, *files_named(document, folder=path.parent))


def loads(
    text: str,
    name: str,
    *,
    environ: Mapping[str, str],
    provider_settings: SettingsOf,
    folder: FilePath = FilePath(),
    purpose: Purpose = Purpose.READ,
) -> Configuration:
    """The same for text. name: what its errors call it. folder: where relative `${file:…}` paths begin."""
    document = parse(text, name)
    return _Reading(document, substitute(document, environ=environ, folder=folder), provider_settings, purpose).configuration()


class _Reading:
    """One document on its way to settings: its pieces are checked one by one, so that one that fails does not hide the others."""

    def __init__(self, document: Document, filled: Substituted, provider_settings: SettingsOf, purpose: Purpose) -> None:
        self._document = document
        self._filled = filled
        self._provider_settings = provider_settings
        self._purpose = purpose
        self._faults: list[Fault] = []
        self._secrets: set[str] = set()

    def configuration(self) -> Configuration:
        root = {} if self._filled.root is None else self._filled.root
        if not isinstance(root, dict):
            raise ConfigError(f"{self._document.name}:{self._document.line(())}: expected a mapping (server, providers, routes, policy, …)")
        self._secrets.update(secrets_of(Configuration, {key: each for key, each in root.items() if key != "providers"}))
        policy = root.get("policy")
        self._check(PolicySettings, {} if policy is None else policy, ("policy",))
        whole: dict[str, object] = dict(root)
        providers = root.get("providers")
        if isinstance(providers, dict):
            whole["providers"] = {key: self._entry(each, ("providers", key), policy) for key, each in providers.items()}
        if any(fault.path[:1] == ("policy",) for fault in self._faults) and policy is not None:
            del whole["policy"]
        configuration = self._check(Configuration, root, (), given=whole)
        self._raise()
        assert configuration is not None  # noqa: S101 -- without it there was a fault
        return configuration

    def _entry(self, entry: Value, path: Path, common: Value) -> ProviderEntry:
        """A provider's entry; where it is at fault, one that stands in for it so that the rest can be checked."""
        stand_in = ProviderEntry(type="none")
        if not isinstance(entry, dict):
            self._faults.append(Fault(path, "expected a mapping with `type` and the provider's settings"))
            return stand_in
        self._secrets.update(secrets_of(ProviderEntry, entry))
        core: dict[str, object] = {key: each for key, each in entry.items() if key in _CORE}
        policy = self._policy(common, entry, path)
        core.pop("policy", None)
        checked = self._check(ProviderEntry, entry, path, given=core)
        settings = None
        if not any(fault.path == (*path, "type") for fault in self._faults):
            settings = self._settings(
                str(entry["type"]), {key: each for key, each in entry.items() if key not in _CORE}, path, self._purpose
            )
        if checked is None:
            return stand_in
        if settings is None or policy is None:
            return checked  # what routes ask of it, such as its price, is known all the same
        return checked.model_copy(update={"settings": settings, "policy": policy})

    def _settings(self, type_name: str, own: dict[str, Value], path: Path, purpose: Purpose) -> ProviderSettings | None:
        """The plugin's part of an entry."""
        try:
            model = self._provider_settings(type_name)
        except ConfigError as error:
            fault = Fault((*path, "type"), str(error), quotes=True)
            self._faults.append(Fault(fault.path, self._hidden(fault, path)))
            return None
        self._secrets.update(secrets_of(model, own))
        before = len(self._faults)
        given: dict[str, object] = {
            key: self._wrapped(each, (*path, key)) if each is not None and _is_wrapped(model, key) else each for key, each in own.items()
        }
        checked = self._check(model, own, path, given=given, purpose=purpose)
        return checked if len(self._faults) == before else None

    def _wrapped(self, value: Value, path: Path) -> Wrapped:
        """A provider inside another one's settings; where it is at fault, one that stands in for it."""
        stand_in = Wrapped(type="none")
        if not isinstance(value, dict):
            self._faults.append(Fault(path, "expected a mapping with `type` and that provider's settings"))
            return stand_in
        checked = self._check(Wrapped, value, path, given={key: each for key, each in value.items() if key == "type"})
        if checked is None:
            return stand_in
        # Whether it is put to work is for the one round it to say: recordings are played without it.
        settings = self._settings(checked.type, {key: each for key, each in value.items() if key != "type"}, path, Purpose.READ)
        return stand_in if settings is None else checked.model_copy(update={"settings": settings})

    def _policy(self, common: Value, entry: dict[str, Value], at: Path) -> PolicySettings | None:
        """A provider's policy over the common one. What the common one is to blame for was said there."""
        path = (*at, "policy")
        own = entry.get("policy")
        if "policy" in entry and not isinstance(own, dict):
            self._faults.append(Fault(path, "expected a mapping with keys of `policy`"))
            return None
        merged = _merged(common if isinstance(common, dict) else {}, own)
        said = {(fault.path[1:], fault.message) for fault in self._faults if fault.path[:1] == ("policy",)}
        before = len(self._faults)
        checked = self._check(PolicySettings, merged, path)
        found = self._faults[before:]
        del self._faults[before:]
        for fault in found:
            below = fault.path[len(path) :]
            if (below, fault.message) not in said:
                self._faults.append(fault if below == () or _has(own, below) else Fault(("policy", *below), fault.message))
        return checked

    def _check(self, model: type[Model], value: Value, path: Path, *, given: object = None, purpose: Purpose | None = None) -> Model | None:
        """given: what is validated, where pieces of `value` have been already. purpose: in place of the whole file's."""
        try:
            return model.model_validate(value if given is None else given, context=(self._purpose if purpose is None else purpose).context)
        except ValidationError as error:
            for fault in faults_of(error, value, model):
                self._faults.append(Fault((*path, *fault.path), self._hidden(fault, path)))
            return None

    def _hidden(self, fault: Fault, scope: Path) -> str:
        """A validator may quote what it was given, anything below `scope`: what came from outside is shown as it is written in the file."""
        if not fault.quotes:
            return fault.message
        shown = [(secret, HIDDEN) for secret in self._secrets]
        for path, pairs in self._filled.foreign.items():
            if path[: len(scope)] == scope or (scope[-1:] == ("policy",) and path[:1] == ("policy",)):
                shown.extend((value, text) for text, value in pairs)
        return hide(fault.message, shown)

    def _raise(self) -> None:
        """Raises ConfigError with all faults in the file's order, if there are any."""
        lines = [(line, path, message) for path, line, message in (*self._document.faults, *self._filled.faults)]
        lines.extend(
            (self._document.line(fault.path), fault.path, fault.message)
            for fault in self._faults
            # What could not be filled in was said; what follows from it would only confuse.
            if not any(_related(fault.path, failed) for failed in self._filled.failed)
        )
        if lines:
            name = self._document.name
            lines = sorted(dict.fromkeys(lines), key=lambda each: each[0])
            raise ConfigError("\n".join(f"{name}:{line}: {_sentence(path, message)}" for line, path, message in lines))


def _is_wrapped(model: type[BaseModel], key: str) -> bool:
    field = model.model_fields.get(key)
    return field is not None and Wrapped in (field.annotation, *get_args(field.annotation))


def _merged(common: Value, own: Value) -> Value:
    """`own` over `common`, mapping by mapping; a value that is no mapping replaces what was there."""
    if not isinstance(common, dict) or not isinstance(own, dict):
        return own if own is not None else common
    merged = dict(common)
    for key, value in own.items():
        below = common.get(key)
        merged[key] = _merged(below, value) if isinstance(value, dict) and isinstance(below, dict) else value
    return merged


def _has(value: Value, path: Path) -> bool:
    found = True
    for part in path:
        found, value = step(value, part)
    return found


def _related(one: Path, other: Path) -> bool:
    """Whether one is the other or round it."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _sentence(path: Path, message: str) -> str:
    return f"{written(path)}: {message}" if path else message
