"""Writes prometheus-rule.yaml, the rules of deploy/prometheus as the Prometheus operator takes them: `python generate.py [--check]`."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
FILE: Final = HERE / "prometheus-rule.yaml"
RULES: Final = HERE.parents[1] / "prometheus" / "asrproxy.rules.yaml"
HEAD: Final = """# Made by generate.py from deploy/prometheus/asrproxy.rules.yaml.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: asrproxy
  labels: {app.kubernetes.io/name: asrproxy}
spec:
"""


def main() -> int:
    """The exit status: with --check, 1 where the file is out of date."""
    text = RULES.read_text("utf-8")
    made = HEAD + textwrap.indent(text[text.index("groups:") :], "  ")
    if "--check" in sys.argv[1:]:
        return 0 if FILE.is_file() and FILE.read_text("utf-8") == made else 1
    FILE.write_text(made, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
