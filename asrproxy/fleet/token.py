"""One token for the whole fleet: made by one sidecar, read by the others."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from asrproxy.fleet.scripts import Away, Scripts
from asrproxy.fleet.seal import Seal
from asrproxy.plugin import Credential

POLL: Final = 0.1
"""Seconds between two looks, on average, while another sidecar makes the token."""

ASK: Final = """
local kept = redis.call('HMGET', KEYS[1], 'value', 'mark', 'life')
if kept[1] and kept[2] ~= ARGV[2] then
  local left = redis.call('PTTL', KEYS[1])
  if left > math.min(600000, tonumber(kept[3]) / 3) then return {'kept', kept[1], kept[2], left} end
end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[3]) then return {'make'} end
return {'wait'}
"""
"""The token, the right to make it, or neither yet. One that is refused, or in the last third (ten minutes) of its life, is not passed on:
whoever asks then wants the next one."""
KEEP: Final = """
local own = redis.call('GET', KEYS[2]) == ARGV[1]
if own or redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'value', ARGV[2], 'mark', ARGV[3], 'life', ARGV[4])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
if own then redis.call('DEL', KEYS[2]) end
"""
RELEASE: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end"


class SharedTokens:
    """The plugin's `TokenStore` where the fleet meets.

    The end of a token is kept as the key's own time to live, so sidecars with wrong clocks agree on it. While Redis is away each makes its
    own: a token more is harmless, no token is not.
    """

    def __init__(self, scripts: Scripts, *, prefix: str, seal: Seal) -> None:
        self._scripts, self._prefix, self._seal = scripts, prefix, seal

    async def issue(self, account: str, make: Callable[[], Awaitable[Credential]], *, refused: str | None, within: float) -> Credential:
        """A token of the account that holds and is not `refused`; what `make` raises."""
        # Sidecars with another secret could not read it: theirs is kept apart.
        place = f"{self._prefix}:token:{{{_digest(f'{self._seal.mark} {account}')}}}"
        keys = [place, f"{place}:lock"]
        owner = secrets.token_hex(16)
        unwanted = _digest(refused) if refused is not None else ""
        held = within + 1.0
        loop = asyncio.get_running_loop()
        patience = loop.time() + 2 * held
        while True:
            try:
                answer = await self._scripts.run(ASK, keys, owner, unwanted, int(held * 1000))
            except Away:
                return await make()
            match answer:
                case [b"kept", bytes(value), bytes(mark), int(left)]:
                    if (token := self._read(value, place, left / 1000)) is not None:
                        return token
                    unwanted = mark.decode(errors="replace")  # damaged: as good as none
                case [b"make"]:
                    return await self._make(make, keys, owner)
                case _ if loop.time() > patience:
                    return await make()  # the others fail one after another: no reason not to find out for ourselves
                case _:
                    await asyncio.sleep(POLL * (0.5 + random.random()))

    async def _make(self, make: Callable[[], Awaitable[Credential]], keys: list[str], owner: str) -> Credential:
        try:
            token = await make()
        except BaseException:  # cancelled too: the next one need not wait until the lock expires
            with suppress(Away):
                await self._scripts.run(RELEASE, keys[1:], owner)
            raise
        value = json.dumps({"id": token.id, "expire_time": token.expire_time}).encode()
        with suppress(Away):
            sealed = self._seal.close(value, keys[0])
            await self._scripts.run(KEEP, keys, owner, sealed, _digest(token.id), int(token.seconds * 1000))
        return token

    def _read(self, value: bytes, place: str, seconds: float) -> Credential | None:
        clear = self._seal.open(value, place)
        if clear is None:
            return None
        try:
            read = json.loads(clear)
            return Credential(str(read["id"]), seconds=seconds, expire_time=float(read["expire_time"]))
        except (ValueError, KeyError, TypeError):
            return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
