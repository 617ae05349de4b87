"""The control endpoint for a tester in another process: the methods of `server.Emulator`, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from .faults import Outage, Scripted, ScriptedToken

_WAIT: Final = 30.0


class ControlError(Exception):
    """The endpoint refused, or what was waited for did not come."""


class EmulatorClient:
    """`async with EmulatorClient(control_url) as cloud:`; every method raises ControlError where it cannot be done."""

    def __init__(self, control_url: str) -> None:
        self._url = control_url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_WAIT + 5))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()

    async def status(self) -> dict[str, Any]:
        """The figures, named as in `report.Status`."""
        return await self._call("GET", "status")

    async def calls(self) -> list[dict[str, Any]]:
        """The last recognition calls, each as in `ledger.Call`."""
        return list((await self._call("GET", "calls"))["calls"])

    async def wait(self, *, timeout: float = _WAIT, **figures: int) -> dict[str, Any]:
        """Until arrived, in_flight or refused_handshakes are at least so many (0: exactly); the figures then."""
        return await self._call("GET", "wait", query={"timeout": str(timeout)} | {name: str(value) for name, value in figures.items()})

    async def all_connections_free(self) -> None:
        """Until no recognition call is under way."""
        await self.wait(in_flight=0)

    async def adjust(self, **changes: str | float | None) -> None:
        """latency="0.8s", latency_jitter, failure_rate, failure_status, concurrency, rate."""
        await self._call("POST", "settings", changes)

    async def hold_answers(self) -> None:
        """Recognition calls are taken, and wait before their answer."""
        await self._call("POST", "hold")

    async def release_answers(self) -> None:
        """Those that wait are answered, and no more wait."""
        await self._call("POST", "release")

    async def script(self, *answers: Scripted | ScriptedToken) -> None:
        """How the next calls are answered, each once, in the order of arrival."""
        calls = [asdict(each) for each in answers if isinstance(each, Scripted)]
        tokens = [asdict(each) for each in answers if isinstance(each, ScriptedToken)]
        await self._call("POST", "script", {"calls": calls, "tokens": tokens})

    async def clear_script(self) -> None:
        """Forgets what was scripted and not used."""
        await self._call("DELETE", "script")

    async def create_token(self, lifetime: float | None = None) -> str:
        """A token made by hand. lifetime: seconds."""
        return str((await self._call("POST", "tokens/create", {"lifetime": lifetime}))["token"])

    async def expire_all_tokens(self) -> int:
        """Every token given out so far is expired from now on."""
        return int((await self._call("POST", "tokens/expire"))["tokens"])

    async def revoke_tokens(self, token_id: str | None = None) -> int:
        """This token, or every one, is unknown from now on."""
        return int((await self._call("POST", "tokens/revoke", {"token": token_id}))["tokens"])

    async def set_clock_offset(self, seconds: float) -> None:
        """How far the cloud's clock is ahead."""
        await self._call("POST", "clock", {"offset": seconds})

    async def gateway_outage(self, outage: Outage | str = Outage.REFUSE, http_status: int = 503) -> None:
        """From now on the gateway is out of service in this way; `none` ends it."""
        await self._call("POST", "outage", {"service": "gateway", "mode": str(outage), "http_status": http_status})

    async def token_outage(self, outage: Outage | str = Outage.REFUSE, http_status: int = 503) -> None:
        """The same for the token service."""
        await self._call("POST", "outage", {"service": "token", "mode": str(outage), "http_status": http_status})

    async def forget(self) -> None:
        """Counts from zero."""
        await self._call("POST", "forget")

    async def _call(
        self, method: str, path: str, body: Mapping[str, object] | None = None, *, query: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        if self._session is None:
            raise RuntimeError("use it in an `async with` block")
        async with self._session.request(method, f"{self._url}/_emulator/{path}", json=body, params=query) as response:
            answer: dict[str, Any] = await response.json()
        if response.status != HTTPStatus.OK:
            raise ControlError(answer.get("error", f"HTTP {response.status}"))
        return answer
