"""A container's CPU limit is what a sidecar goes by, not the machine that it happens to be on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from asrproxy.cores import cores

ALL = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("quota", "limit"), [("50000 100000", 1), ("100000 100000", 1), ("max 100000", ALL), ("nonsense", ALL)])
def test_the_limit_of_cgroup_v2_counts(tmp_path: Path, quota: str, limit: int) -> None:
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert cores(tmp_path) == limit


@pytest.mark.parametrize(("quota", "limit"), [("50000", 1), ("100000", 1), ("-1", ALL), ("", ALL)])
def test_and_so_does_that_of_v1(tmp_path: Path, quota: str, limit: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(quota + "\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert cores(tmp_path) == limit


def test_without_a_limit_it_is_what_the_scheduler_gives(tmp_path: Path) -> None:
    assert cores(tmp_path) == ALL
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cores(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, allowed)
