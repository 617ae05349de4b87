"""A token source that the sidecars of an account share."""

from __future__ import annotations

import asyncio

from asrproxy.plugin import Credential, TokenStore
from asrproxy_aliyun.token import Token, TokenSource


class SharedToken:
    """A `TokenSource` in front of another: one sidecar of the account asks that one, the others get what it was given.

    within: seconds that `source` takes at most.
    """

    def __init__(self, source: TokenSource, store: TokenStore, *, account: str, within: float) -> None:
        self._source, self._store, self._account, self._within = source, store, account, within

    async def issue(self, refused: Token | None) -> Token:
        async def make() -> Credential:
            token = await self._source.issue(refused)
            return Credential(token.id, seconds=token.expires - asyncio.get_running_loop().time(), expire_time=token.expire_time)

        shared = await self._store.issue(self._account, make, refused=refused.id if refused is not None else None, within=self._within)
        return Token(shared.id, expires=asyncio.get_running_loop().time() + shared.seconds, expire_time=shared.expire_time)
