"""Redis as the fleet's ground: one script at a time, answered in time or not there."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from asrproxy.config.models import SharedSettings
from asrproxy.errors import ConfigError
from asrproxy.fleet.scripts import Away, Ground
from asrproxy.fleet.seal import Clear, Seal, Sealed


async def redis_ground(settings: SharedSettings) -> Ground:
    """Where the sidecars of an account meet. Redis need not be there yet. Raises ConfigError: a package is missing, or not an address."""
    secret = settings.secret.get_secret_value() if settings.secret is not None else None
    seal: Seal = Clear() if secret is None else await asyncio.to_thread(Sealed, secret)
    scripts = RedisScripts(settings.redis.get_secret_value(), timeout=settings.timeout, ca_file=settings.ca_file)
    return Ground("redis", scripts, seal, settings.prefix)


class RedisScripts:
    """Runs Lua scripts in Redis.

    timeout: seconds for everything, connecting too. ca_file: whom a server's certificate must be from, None: the system's authorities.
    Nothing is repeated here: the caller knows what to do without Redis. Raises ConfigError when made: no redis package, not an address.
    """

    def __init__(self, url: str, *, timeout: float, ca_file: Path | None = None) -> None:
        try:
            from redis.asyncio import Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
            from redis.exceptions import RedisError
        except ImportError as error:
            raise ConfigError("shared.redis needs the redis package: pip install 'asrproxy[redis]'") from error
        trust: dict[str, Any] = {} if ca_file is None else {"ssl_ca_certs": str(ca_file)}
        self._timeout = timeout
        self._failures = (RedisError, OSError, TimeoutError)
        try:
            self._client: Any = Redis.from_url(
                url,
                socket_timeout=timeout,
                socket_connect_timeout=timeout,
                retry=Retry(NoBackoff(), 0),
                max_connections=8,
                protocol=2,
                **trust,
            )
        except ValueError:
            # Its own text may show the address, and that a password.
            raise ConfigError("shared.redis: expected redis://HOST:PORT/DB, rediss://… or unix:///PATH") from None

    async def run(self, script: str, keys: list[str], *arguments: str | bytes | int | float) -> Any:
        """What the script returns. Raises Away."""
        try:
            async with asyncio.timeout(self._timeout):
                # The text itself and not its digest: a restarted Redis knows no digests, and the text is a few hundred bytes.
                return await self._client.execute_command("EVAL", script, len(keys), *keys, *arguments)
        except self._failures as error:
            raise Away(type(error).__name__) from error

    async def aclose(self) -> None:
        with suppress(*self._failures):
            async with asyncio.timeout(self._timeout):
                await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()
