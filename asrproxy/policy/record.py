"""Every call to a vendor is written down and announced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from asrproxy.config.models import PriceSettings
from asrproxy.errors import code_of
from asrproxy.events import AttemptEnded, Noted
from asrproxy.plugin import (
    AsrError,
    AttemptRecord,
    AudioFormat,
    Call,
    Charge,
    Context,
    Observer,
    ProviderError,
    Recognition,
    Span,
    Truncated,
    Unavailable,
    Utterance,
)
from asrproxy.policy import price

_HEARD: Final = frozenset({"ok", "cancelled"})
"""How a live session ended for whose audio the vendor may charge: it has heard what it was sent."""


class Cancelled(Exception):
    """The call was ended from above: the caller has gone, or a hedge was quicker."""


class Record:
    """Adds a line to the trail, announces AttemptEnded, and sets whose recognition or error it is.

    Also the border to a plugin: what it raises beside the errors of the contract is a defect of the plugin, and becomes Unavailable (with
    its cause, and noted for the operator), so that a defect in one provider does not keep the next from answering. price: the vendor's.
    """

    def __init__(self, *, provider: str, price: PriceSettings | None, observer: Observer) -> None:
        self._provider, self._price, self._observer = provider, price, observer

    def __call__(self, call: Call) -> Call:
        provider = self._provider

        async def recorded(utterance: Utterance, context: Context) -> Recognition:
            span = None if context.trace is None else context.trace.child()
            if span is not None and span.recorded:  # what the vendor does belongs under this attempt
                context = replace(context, traceparent=span.traceparent)
            began = asyncio.get_running_loop().time()
            try:
                given = await call(utterance, context)
            except AsrError as error:
                if error.provider is None:
                    error.provider = provider
                self._failed(utterance, context, began, error, span)
                raise
            except asyncio.CancelledError:
                self._ended(utterance, context, began, Cancelled("cancelled"), None, span)
                raise
            except Exception as defect:  # the plugin's author is not here to own it
                raise self._unavailable(utterance, context, began, defect, span) from defect
            self._ended(utterance, context, began, None, given.vendor_id, span)
            return Recognition(given.text, given.words, given.language, given.vendor_id, provider, given.suspect, given.sentences)

        return recorded

    @asynccontextmanager
    async def session(self, audio: AsyncIterator[bytes], format: AudioFormat, context: Context) -> AsyncIterator[AsyncIterator[bytes]]:
        """The same for a live session, which is one attempt. Gives the audio on; what the vendor takes of it is what was sent."""
        time = asyncio.get_running_loop().time
        began = time()
        counted = _Counted(audio)
        error: Exception | None = None
        outcome = "ok"
        try:
            yield counted
        except AsrError as failure:
            if failure.provider is None:
                failure.provider = self._provider
            error, outcome = failure, code_of(type(failure))
            raise
        except (asyncio.CancelledError, GeneratorExit):
            error, outcome = Cancelled("cancelled"), "cancelled"
            raise
        except Exception as defect:  # the plugin's author is not here to own it
            error = unavailable = self._made_of(defect, context)
            outcome = code_of(Unavailable)
            raise unavailable from defect
        finally:
            seconds = counted.size / format.bytes_per_second
            heard = outcome in _HEARD
            charge = price.charge(self._price, seconds) if heard and self._price is not None else None
            self._write(context, outcome, time() - began, error, charge)
            self._observer(
                AttemptEnded(
                    context.request_id,
                    self._provider,
                    context.attempt,
                    time() - began,
                    seconds,
                    error,
                    outcome=outcome,
                    sent_bytes=counted.size,
                    billed_seconds=charge.seconds if charge is not None else seconds if heard else 0.0,
                    route=context.route,
                    caller=context.caller,
                    span=None if context.trace is None else context.trace.child(),
                    session=True,
                    charge=charge,
                    began=began,
                )
            )
            error = None  # its traceback holds this frame

    def _write(self, context: Context, outcome: str, seconds: float, error: Exception | None, charge: Charge | None) -> None:
        if isinstance(error, AsrError):
            record = AttemptRecord(self._provider, "failed", outcome, error.message, seconds, context.segment, charge)
        else:
            record = AttemptRecord(self._provider, outcome, None, None, seconds, context.segment, charge)
        context.trail.add(record)

    def _failed(self, utterance: Utterance, context: Context, began: float, error: AsrError, span: Span | None) -> None:
        self._ended(utterance, context, began, error, error.vendor_id if isinstance(error, ProviderError) else None, span)

    def _unavailable(self, utterance: Utterance, context: Context, began: float, defect: Exception, span: Span | None) -> Unavailable:
        error = self._made_of(defect, context)
        self._failed(utterance, context, began, error, span)
        return error

    def _made_of(self, defect: Exception, context: Context) -> Unavailable:
        kind = type(defect).__name__
        trace = {} if context.trace is None else {"trace_id": context.trace.trace_id}
        details = {"provider": self._provider, "request_id": context.request_id, **trace, "error": defect}
        self._observer(Noted("error", "provider defect", details))
        return Unavailable(f"the provider's plugin failed with {kind}; the log has it under this request id", provider=self._provider)

    def _ended(
        self, utterance: Utterance, context: Context, began: float, error: Exception | None, vendor_id: str | None, span: Span | None
    ) -> None:
        """Writes the call down and announces it. It is charged for where the vendor has answered, also with a text that is too short."""
        seconds = asyncio.get_running_loop().time() - began
        audio = utterance.duration
        answered = error is None or isinstance(error, Truncated)
        charge = price.charge(self._price, audio) if answered and self._price is not None else None
        outcome = "ok" if error is None else "cancelled" if isinstance(error, Cancelled) else code_of(type(error))
        self._write(context, outcome, seconds, error, charge)
        self._observer(
            AttemptEnded(
                context.request_id,
                self._provider,
                context.attempt,
                seconds,
                audio,
                error,
                vendor_id,
                outcome,
                len(utterance.pcm),
                charge.seconds if charge is not None else audio if answered else 0.0,
                context.segment,
                context.route,
                context.caller,
                span,
                charge=charge,
                began=began,
            )
        )


class _Counted(AsyncIterator[bytes]):
    """Audio on its way to a vendor. size: bytes that it has taken."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self.size = 0

    async def __anext__(self) -> bytes:
        piece = await anext(self._pieces)
        self.size += len(piece)
        return piece
