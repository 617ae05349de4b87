"""The HTTP face of CreateToken, with the outages of its service."""

from __future__ import annotations

from email.utils import formatdate

from aiohttp import web
from multidict import MultiDict

from .clock import Clock
from .create_token import CreateToken, TokenAnswer, refusal
from .faults import Faults
from .ledger import Kind, Ledger


class TokenService:
    """`GET` or `POST /`: parameters in the query, in a form body, or in both."""

    def __init__(self, create: CreateToken, faults: Faults, ledger: Ledger, clock: Clock) -> None:
        self._create = create
        self._faults = faults
        self._ledger = ledger
        self._clock = clock

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answers one call."""
        self._ledger.count(Kind.TOKEN)
        parameters = MultiDict(request.query)
        for name, value in (await request.post()).items():
            if isinstance(value, str):
                parameters.add(name, value)
        scripted = self._faults.next_token()
        if scripted is not None and scripted.body is not None:
            return web.Response(status=scripted.http_status, text=scripted.body, content_type="text/html")
        answer = (
            self._create.answer(request.method, parameters, request.host)
            if scripted is None
            else refusal(scripted.http_status, scripted.code, scripted.message, request.host)
        )
        return self._response(answer)

    def _response(self, answer: TokenAnswer) -> web.Response:
        # Clients judge their own clock by this header.
        return web.json_response(answer.body, status=answer.status, headers={"Date": formatdate(self._clock(), usegmt=True)})
