"""The parts that every face of the gateway (REST, WebSocket, flash) works with."""

from __future__ import annotations

from dataclasses import dataclass

from .answers import Answers
from .codes import APPKEY_NOT_EXIST, NO_VALID_AUDIO, PARAMETER_INVALID, NlsFailure
from .faults import Faults
from .ledger import Ledger
from .quota import Quota
from .settings import EmulatorSettings, Silence
from .tokens import Tokens


@dataclass(frozen=True, slots=True, eq=False)
class Cloud:
    """One account of the vendor's with its one app key."""

    settings: EmulatorSettings
    tokens: Tokens
    quota: Quota
    faults: Faults
    ledger: Ledger
    answers: Answers

    def check_appkey(self, appkey: object) -> None:
        """Raises NlsFailure: there is none, or it is not the account's."""
        if not appkey:
            raise NlsFailure(PARAMETER_INVALID, "Gateway:PARAMETER_INVALID:appkey not set")
        if appkey != self.settings.appkey:
            raise NlsFailure(APPKEY_NOT_EXIST)

    def check_speech(self, text: str) -> None:
        """Raises NlsFailure: nothing was said, and that is an error here."""
        if not text and self.settings.silence == Silence.ERROR:
            raise NlsFailure(NO_VALID_AUDIO)
