"""What the server's answers mean: pure, from status, headers and body to a recognition or an error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from math import isfinite
from time import time
from types import MappingProxyType
from typing import Final

from asrproxy.plugin import Garbled, ProviderError, Recognition, Refused, Rejected, Throttled, Unavailable, Word

ERRORS: Final[Mapping[int, type[ProviderError]]] = MappingProxyType(
    {
        400: Rejected,
        401: Refused,
        402: Refused,
        403: Refused,
        404: Refused,  # no such model, or no such address: the configuration's fault, so another provider may well answer
        405: Refused,
        408: Unavailable,
        409: Unavailable,
        413: Rejected,
        415: Rejected,
        422: Rejected,
        425: Unavailable,
        429: Throttled,
    }
)
"""OpenAI's error codes: https://platform.openai.com/docs/guides/error-codes; 413 and 415 come from proxies before it, 422 from FastAPI."""

_UNPAID: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
"""`error.code` of a 429 that no waiting will cure."""

_LANGUAGES: Final = MappingProxyType(
    {
        "arabic": "ar", "cantonese": "yue", "chinese": "zh", "czech": "cs", "danish": "da", "dutch": "nl", "english": "en", "finnish": "fi",
        "french": "fr", "german": "de", "greek": "el", "hebrew": "he", "hindi": "hi", "hungarian": "hu", "indonesian": "id",
        "italian": "it", "japanese": "ja", "korean": "ko", "malay": "ms", "norwegian": "no", "persian": "fa", "polish": "pl",
        "portuguese": "pt", "romanian": "ro", "russian": "ru", "spanish": "es", "swedish": "sv", "thai": "th", "turkish": "tr",
        "ukrainian": "uk", "urdu": "ur", "vietnamese": "vi",
    }
)  # fmt: skip
"""verbose_json names languages in English words, as Whisper's tokenizer does; other servers give the code."""


def recognition_of(body: bytes, *, words: bool, duration: float, vendor_id: str | None) -> Recognition:
    """A 200's body, `json` or `verbose_json`. duration: seconds of the utterance, which no word's time exceeds.

    Raises Garbled: it is not JSON, or has no text, or has no word times though they were asked for.
    """
    answer = _object(body)
    text = None if answer is None else answer.get("text")
    if answer is None or not isinstance(text, str):
        raise Garbled("the server's answer is not a transcription: no JSON object with a text", vendor_code=200)
    text = text.strip()
    return Recognition(
        text,
        words=_words(answer.get("words"), bool(text), duration) if words else None,
        language=_language(answer.get("language")),
        vendor_id=vendor_id,
    )


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """Any status but 200 as the error it stands for; one that the table lacks may be tried again from 500 up."""
    described = (_object(body) or {}).get("error")
    code = described.get("code") if isinstance(described, dict) else None
    kind = Refused if isinstance(code, str) and code in _UNPAID else ERRORS.get(status, Unavailable if status >= 500 else Refused)
    said = _said(described)
    if 300 <= status < 400:
        said = "redirects are not followed, set base_url to where it points"
    message = f"the server answered {status}" + (f": {said}" if said else "")
    error = kind(message, vendor_code=status, retry_after=_retry_after(headers) if kind.retryable else None)
    error.vendor_id = headers.get("x-request-id")
    return error


def _object(body: bytes) -> dict[str, object] | None:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _said(described: object) -> str:
    """The error's own words, whatever a server makes of the `error` object; a page of HTML is not for people."""
    words = described.get("message") if isinstance(described, dict) else described
    return " ".join(words.split())[:300] if isinstance(words, str) else ""


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from OpenAI's `retry-after-ms` or `Retry-After` with seconds or a date (RFC 9110, 10.2.3)."""
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            seconds = float(milliseconds) / 1000
        elif (value := headers.get("Retry-After")) is None:
            return None
        elif value.strip().replace(".", "", 1).isdigit():
            seconds = float(value)
        else:
            seconds = parsedate_to_datetime(value).timestamp() - time()
    except (ValueError, OverflowError):
        return None
    return max(seconds, 0.0) if isfinite(seconds) else None


def _words(items: object, spoken: bool, duration: float) -> tuple[Word, ...]:
    if not isinstance(items, list):
        if not spoken:
            return ()
        raise Garbled("the answer has no word times; a model that has none wants words: false in the configuration", vendor_code=200)
    words: list[Word] = []
    before = 0.0
    for item in items:
        match item:
            case {"word": str(text), "start": int() | float() as start, "end": int() | float() as end}:
                start = min(max(float(start), before), duration)  # models overlap neighbours and overshoot the end by some hundredths
                end = min(max(float(end), start), duration)
                words.append(Word(text.strip(), start, end))
                before = start
            case _:
                raise Garbled("the answer's words are not words with times", vendor_code=200)
    return tuple(words)


def _language(name: object) -> str | None:
    if not isinstance(name, str) or not name:
        return None
    return _LANGUAGES.get(name.lower(), name if len(name.partition("-")[0]) in (2, 3) else None)
