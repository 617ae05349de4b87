"""asrproxy: a sidecar proxy for speech recognition. Importing it has no effect; `asrproxy.plugin` is what a provider's author imports."""

__version__ = "0.1.0"
