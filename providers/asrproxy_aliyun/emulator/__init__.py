"""An NLS gateway and token service on this machine, for people with no account, for tests and for benchmarks."""

from .faults import Outage, Scripted, ScriptedToken
from .server import Emulator
from .settings import EmulatorSettings

__all__ = ["Emulator", "EmulatorSettings", "Outage", "Scripted", "ScriptedToken"]
