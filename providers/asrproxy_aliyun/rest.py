"""The `rest` transport: one utterance, one POST, one answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from yarl import URL

from asrproxy.plugin import Garbled, Options, Recognition, Utterance
from asrproxy_aliyun.parameters import ASR_PATH, asr_query
from asrproxy_aliyun.pool import Pool
from asrproxy_aliyun.settings import AliyunSettings
from asrproxy_aliyun.status import NO_SPEECH, SUCCESS, error_of_http, error_of_status, retry_after
from asrproxy_http.exchange import Answer


class Rest:
    """One-sentence recognition over HTTP. Up to 60 s; no words."""

    def __init__(self, settings: AliyunSettings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool
        # For the few combinations of what callers ask for a call's first lines are made once with each token, and not for every call.
        self._token = ""
        self._heads: dict[tuple[bool | None, bool | None], bytes] = {}

    async def start(self) -> None:
        """Nothing of its own: the pool is the provider's."""

    async def recognize(self, utterance: Utterance, options: Options, token: str) -> Recognition:
        """Raises a ProviderError; TokenRefused where the token may be to blame."""
        answer = await self._pool.post(self._head(options, token), utterance.pcm)
        return recognition_of(answer, self._settings.language)

    async def aclose(self) -> None:
        """Nothing of its own: the pool is the provider's."""

    def status(self) -> Mapping[str, object]:
        return {}

    def _head(self, options: Options, token: str) -> bytes:
        if options.vocabulary is not None:
            return self._made(options, token)
        if self._token != token:
            self._token, self._heads = token, {}
        key = (options.punctuation, options.itn)
        head = self._heads.get(key)
        if head is None:
            head = self._heads[key] = self._made(options, token)
        return head

    def _made(self, options: Options, token: str) -> bytes:
        url = URL(f"{self._settings.gateway}{ASR_PATH}?{asr_query(self._settings, options)}", encoded=True)
        return self._pool.head(url, {"X-NLS-Token": token, "Content-Type": "application/octet-stream"})


def recognition_of(answer: Answer, language: str | None) -> Recognition:
    """The answer of one-sentence recognition. The JSON's own status decides; HTTP's only where there is none."""
    body = decoded(answer)
    code = body["status"]
    if code == SUCCESS:
        text = body.get("result")
        if not isinstance(text, str):
            raise Garbled("NLS says success and gives no result", vendor_code=code)
        return Recognition(text, language=language, vendor_id=vendor_id_of(body))
    if code in NO_SPEECH:
        return Recognition("", language=language, vendor_id=vendor_id_of(body))
    raise refusal_of(answer, body)


def decoded(answer: Answer) -> dict[str, Any]:
    """The JSON object of an answer that has a numeric `status`. Raises what HTTP's status says, or Garbled."""
    try:
        body = json.loads(answer.body)
    except ValueError:
        body = None
    if isinstance(body, dict) and isinstance(status := body.get("status"), int | str):
        if isinstance(status, int):
            return body
        if status.isascii() and status.isdigit():
            return body | {"status": int(status)}
    if answer.status == 200:
        raise Garbled("the gateway answered 200 with what is not NLS's JSON", vendor_code=answer.status)
    raise error_of_http(
        answer.status, answer.body[:300].decode("utf-8", "replace"), retry_after=retry_after(answer.headers.get("Retry-After"))
    )


def refusal_of(answer: Answer, body: dict[str, Any]) -> Exception:
    """The typed error of an answer with a code."""
    error = error_of_status(body["status"], str(body.get("message") or ""), retry_after=retry_after(answer.headers.get("Retry-After")))
    error.vendor_id = vendor_id_of(body)
    return error


_LONGEST_ID: Final = 200


def vendor_id_of(body: dict[str, Any]) -> str | None:
    """The task id of an answer, for support tickets."""
    task_id = body.get("task_id")
    return task_id[:_LONGEST_ID] if isinstance(task_id, str) and task_id else None
