"""A worker's place among the workers of one sidecar, and its part of what they have together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from asrproxy.config.models import LimitSettings, PolicySettings


@dataclass(frozen=True, slots=True)
class Place:
    """index: from 0. of: how many workers there are. folder: the supervisor's sockets are in it."""

    index: int
    of: int
    folder: Path

    @property
    def keeper(self) -> Path:
        """Where the supervisor keeps what is shared."""
        return self.folder / "fleet.sock"

    @property
    def together(self) -> Path:
        """Where the supervisor answers for all workers: health and metrics."""
        return self.folder / "ops.sock"

    @property
    def own(self) -> Path:
        """Where this worker answers the supervisor for itself."""
        return self.folder / f"worker-{self.index}.sock"


def part_of(policy: PolicySettings, of: int) -> PolicySettings:
    """A worker's own limits. The rate is not divided: the fleet keeps one for all. An `auto` concurrency is found by each for itself."""
    limits = policy.limits
    changes: dict[str, object] = {"queue": -(-limits.queue // of)}
    if limits.concurrency != "auto":
        changes["concurrency"] = -(-limits.concurrency // of)
    return policy.model_copy(update={"limits": LimitSettings.model_copy(limits, update=changes)})
