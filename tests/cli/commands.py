"""What `asrproxy --help` promises, in its order."""

COMMANDS = [
    "serve",
    "recognize",
    "listen",
    "check",
    "health",
    "providers",
    "schema",
    "compare",
    "status",
    "tail",
    "emulate",
    "inject",
    "webhook",
    "admission-policy",
]
