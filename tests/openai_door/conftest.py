"""A sidecar in a thread of its own, so that clients that block meet it as those do that do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from asrproxy.testing.sidecar import CONFIGURATION, RunningSidecar, running_sidecar

EVERYTHING = CONFIGURATION.replace(
    "{type: fake}", "{type: fake, capabilities: {longest: 5s, options: [words, punctuation, prompt, temperature]}}"
)
"""A vendor with every option that OpenAI's form has, whose utterances are short enough to have several in a test."""


def one_by_one(second: str) -> str:
    """Segments are recognised one after the other, and the second meets the step `second`."""
    return EVERYTHING.replace("{type: fake,", f"{{type: fake, script: [{{}}, {second}],").replace("recheck:", "concurrency: 1, recheck:")


Start = Callable[..., RunningSidecar]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts sidecars that end with the test."""
    with ExitStack() as stack:
        yield lambda configuration=EVERYTHING: stack.enter_context(running_sidecar(configuration))


@pytest.fixture
def door(start: Start) -> RunningSidecar:
    return start()
