"""A share of a route's requests begins at another provider: a canary."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Final, Literal, Protocol, TypeVar

from asrproxy.plugin import Context


class Named(Protocol):
    """What is chosen among."""

    @property
    def name(self) -> str: ...


M = TypeVar("M", bound=Named)


class Split:
    """Which provider a request begins at; the others follow in the route's order, for when it fails.

    The same request goes to the same provider with all its segments and repeats: the choice is made from its id, or from its caller's name.
    shares: provider to weight; what matters is their proportion.
    """

    def __init__(self, *, route: str, shares: Mapping[str, float], by: Literal["request", "caller"]) -> None:
        self._route, self._by = route, by
        total = sum(shares.values())
        self._shares: Final = {name: share / total for name, share in shares.items()}
        self._edges: Final = tuple(zip(shares, accumulate(self._shares.values()), strict=True))

    def ordered(self, members: Sequence[M], context: Context) -> Sequence[M]:
        """The providers as this call tries them."""
        chosen = self._chosen(context.caller if self._by == "caller" else context.request_id)
        first = [member for member in members if member.name == chosen]
        return [*first, *(member for member in members if member.name != chosen)]

    def status(self) -> Mapping[str, object]:
        """For `/v1/status`: JSON values."""
        return {"by": self._by, "shares": {name: round(share, 4) for name, share in self._shares.items()}}

    def _chosen(self, key: str) -> str:
        digest = hashlib.blake2b(f"{self._route}\0{key}".encode(), digest_size=8).digest()
        place = int.from_bytes(digest) / 2**64
        return next((name for name, edge in self._edges if place < edge), self._edges[-1][0])
