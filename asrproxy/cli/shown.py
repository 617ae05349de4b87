"""What is heard live, on a terminal and in a pipe."""

from __future__ import annotations

import json
import shutil
import sys
import unicodedata
from typing import Any, Final

_CLEAR: Final = "\r\x1b[K"


class Lines:
    """Finished sentences are lines of standard output. What is being said is one line of the terminal, rewritten until it is final.

    visible: whether that is wanted. hint: what a person is told when it begins.
    """

    def __init__(self, *, visible: bool, hint: str | None = None) -> None:
        self._terminal = visible and sys.stderr.isatty()
        self._hint = hint if sys.stderr.isatty() else None
        self._open = False

    @property
    def interim(self) -> bool:
        """Whether somebody sees what is being said."""
        return self._terminal

    def tell(self, message: dict[str, Any]) -> None:
        """A message of the sidecar's."""
        if message["type"] == "interim" and self._terminal:
            sys.stderr.write(_CLEAR + _last(message["text"], shutil.get_terminal_size().columns - 1))
            sys.stderr.flush()
            self._open = True
        elif message["type"] == "started" and self._hint is not None:
            print(self._hint, file=sys.stderr, flush=True)
        elif message["type"] == "final":
            self.clear()
            sys.stdout.write(message["text"] + "\n")
            sys.stdout.flush()

    def clear(self) -> None:
        """The line of what was being said goes."""
        if self._open:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()
            self._open = False


class Json:
    """Each message is a line of standard output. interim: also of what is being said."""

    def __init__(self, *, interim: bool) -> None:
        self.interim = interim

    def tell(self, message: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(message, ensure_ascii=False) + "\n")
        sys.stdout.flush()

    def clear(self) -> None:
        """There is no such line."""


def _last(text: str, width: int) -> str:
    """The end of a text that is too wide for a line; Chinese characters are two columns wide."""
    columns = 0
    for place in range(len(text) - 1, -1, -1):
        columns += 2 if unicodedata.east_asian_width(text[place]) in "WF" else 1
        if columns > width:
            return "…" + _last(text[place + 1 :], width - 1)
    return text
