"""The tokens that were given out, and whether one still opens the gateway."""

from __future__ import annotations

import uuid
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .codes import TOKEN, NlsFailure

_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Token:
    """expires: Unix seconds."""

    id: str
    expires: float


class Tokens:
    """A new token does not end the old ones: each lives until its own time, unless it is expired or revoked by hand.

    given: the ids of all that were created.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tokens: OrderedDict[str, Token] = OrderedDict()
        self.created = 0
        self.given: deque[str] = deque(maxlen=_REMEMBERED)

    def create(self, lifetime: float) -> Token:
        """A token that is good for `lifetime` seconds."""
        token = Token(uuid.uuid4().hex, self._clock() + lifetime)
        self._tokens[token.id] = token
        self.created += 1
        self.given.append(token.id)
        if len(self._tokens) > _REMEMBERED:
            self._tokens.popitem(last=False)
        return token

    def check(self, token_id: str | None) -> None:
        """Raises NlsFailure: 40000001, its text saying whether the token is missing, unknown or expired."""
        if not token_id:
            raise NlsFailure(TOKEN)
        if (token := self._tokens.get(token_id)) is None:
            raise NlsFailure(TOKEN, f"Meta:ACCESS_DENIED:The token '{token_id}' is invalid!")
        if token.expires <= self._clock():
            raise NlsFailure(TOKEN, f"Gateway:ACCESS_DENIED:The token '{token_id}' has expired!")

    def expire_all(self) -> int:
        """From now on every token given out so far is expired. Returns how many there are."""
        self._tokens = OrderedDict((each, Token(each, 0.0)) for each in self._tokens)
        return len(self._tokens)

    def revoke(self, token_id: str | None = None) -> int:
        """From now on this token, or every one, is unknown. Returns how many there were."""
        if token_id is not None:
            return 0 if self._tokens.pop(token_id, None) is None else 1
        count = len(self._tokens)
        self._tokens.clear()
        return count
