"""A whole sidecar from YAML, as the other doors' tests have it."""

from tests.recognize.conftest import start

__all__ = ["start"]
