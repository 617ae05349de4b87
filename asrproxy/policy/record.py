"""Every call to a vendor is written down and announced."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from asrproxy.events import AttemptEnded, Noted
from asrproxy.plugin import AsrError, AttemptRecord, Call, Context, Observer, Recognition, Unavailable, Utterance

_INNER_CAPITAL: Final = re.compile(r"(?<=.)(?=[A-Z])")


class Cancelled(Exception):
    """The call was ended from above: the caller has gone, or a hedge was quicker."""


class Record:
    """Adds a line to the trail, announces AttemptEnded, and sets whose recognition or error it is.

    Also the border to a plugin: what it raises beside the errors of the contract is a defect of the plugin, and becomes Unavailable (with
    its cause, and noted for the operator), so that a defect in one provider does not keep the next from answering.
    """

    def __init__(self, *, provider: str, observer: Observer) -> None:
        self._provider, self._observer = provider, observer

    def __call__(self, call: Call) -> Call:
        provider = self._provider

        async def recorded(utterance: Utterance, context: Context) -> Recognition:
            time = asyncio.get_running_loop().time
            began = time()
            try:
                given = await call(utterance, context)
            except AsrError as error:
                if error.provider is None:
                    error.provider = provider
                self._failed(utterance, context, time() - began, error)
                raise
            except asyncio.CancelledError:
                seconds = time() - began
                self._write(context, "cancelled", seconds)
                self._announce(utterance, context, seconds, Cancelled("cancelled"), None)
                raise
            except Exception as defect:  # the plugin's author is not here to own it
                raise self._unavailable(utterance, context, time() - began, defect) from defect
            seconds = time() - began
            self._write(context, "ok", seconds)
            self._announce(utterance, context, seconds, None, given.vendor_id)
            return Recognition(given.text, given.words, given.language, given.vendor_id, provider, given.suspect)

        return recorded

    def _failed(self, utterance: Utterance, context: Context, seconds: float, error: AsrError) -> None:
        self._write(context, "failed", seconds, code_of(error), error.message)
        self._announce(utterance, context, seconds, error, None)

    def _unavailable(self, utterance: Utterance, context: Context, seconds: float, defect: Exception) -> Unavailable:
        kind = type(defect).__name__
        self._observer(Noted("error", "provider defect", {"provider": self._provider, "request_id": context.request_id, "error": defect}))
        error = Unavailable(f"the provider's plugin failed with {kind}; the log has it under this request id", provider=self._provider)
        self._failed(utterance, context, seconds, error)
        return error

    def _write(self, context: Context, outcome: str, seconds: float, code: str | None = None, reason: str | None = None) -> None:
        context.trail.records.append(AttemptRecord(self._provider, outcome, code, reason, seconds, context.segment))

    def _announce(self, utterance: Utterance, context: Context, seconds: float, error: Exception | None, vendor_id: str | None) -> None:
        self._observer(AttemptEnded(context.request_id, self._provider, context.attempt, seconds, utterance.duration, error, vendor_id))


def code_of(error: Exception) -> str:
    """An error's code word in the `attempts` detail: its class's name, `attempt_timeout` for AttemptTimeout."""
    return _INNER_CAPITAL.sub("_", type(error).__name__).lower()
