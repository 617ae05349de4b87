"""Entry points to provider classes: a function called at start, importing nothing that is not asked for."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Final

from asrproxy.errors import ConfigError
from asrproxy.plugin import Provider

GROUP: Final = "asrproxy.providers"


def provider_types() -> list[str]:
    """The installed provider types, by name."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def provider_type(name: str) -> type[Provider]:
    """The class that an installed package registered as `name`. Raises ConfigError: none has, several have, or it does not load."""
    points = [point for point in entry_points(group=GROUP) if point.name == name]
    match points:
        case [point]:
            return _loaded(point)
        case []:
            raise ConfigError(f"no provider type {name!r}; installed: {', '.join(provider_types())}")
        case _:
            raise ConfigError(f"provider type {name!r} is claimed by {', '.join(point.value for point in points)}")


def _loaded(point: EntryPoint) -> type[Provider]:
    try:
        found = point.load()
    except ImportError as error:
        raise ConfigError(f"provider type {point.name!r} cannot be loaded: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Provider)):
        raise ConfigError(f"provider type {point.name!r}: {point.value} is not a subclass of asrproxy.plugin.Provider")
    return found
