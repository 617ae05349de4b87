"""`asrproxy schema`: JSON Schema of the configuration file."""

from __future__ import annotations

import sys

from asrproxy.errors import ConfigError


def command() -> None:
    """Print the configuration file's JSON Schema, with the settings of every installed provider type."""
    import json

    from asrproxy.config.schema import schema
    from asrproxy.discovery import provider_type, provider_types

    types = {}
    for name in provider_types():
        try:
            types[name] = provider_type(name).Settings
        except ConfigError as error:
            print(f"left out: {error}", file=sys.stderr)
    print(json.dumps(schema(types), ensure_ascii=False, indent=2))
