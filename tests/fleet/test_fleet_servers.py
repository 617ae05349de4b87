"""Redis behind TLS, and a node of a Redis Cluster."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import trustme

from asrproxy.plugin import Credential
from tests.fleet.serving import Server, Sidecar, free_port, permits, redis_server

LAST_SLOT = 16_383
PATIENT = 5.0
"""Seconds for a handshake on a busy machine."""


def certificate(ca: trustme.CA, folder: Path, name: str) -> list[str]:
    """What makes redis-server speak TLS."""
    made, file, key = ca.issue_cert(name), folder / "certificate.pem", folder / "key.pem"
    made.cert_chain_pems[0].write_to_path(file)
    made.private_key_pem.write_to_path(key)
    ca.cert_pem.write_to_path(folder / "ca.pem")
    return [
        "--tls-cert-file",
        str(file),
        "--tls-key-file",
        str(key),
        "--tls-ca-cert-file",
        str(folder / "ca.pem"),
        "--tls-auth-clients",
        "no",
    ]


async def test_sidecars_meet_behind_tls(tmp_path: Path) -> None:
    port = free_port()
    tls = certificate(trustme.CA(), tmp_path, "127.0.0.1")
    async with redis_server("--tls-port", str(port), *tls):
        where, trusted = f"rediss://127.0.0.1:{port}/0", str(tmp_path / "ca.pem")
        async with Sidecar(where, ca_file=trusted, timeout=PATIENT) as one, Sidecar(where, ca_file=trusted, timeout=PATIENT) as other:
            await one.counts(2)
            await other.counts(2)
            await permits([one, other], 60)
            made = 0

            async def make() -> Credential:
                nonlocal made
                made += 1
                return Credential("token", 3600.0, 4e9)

            shared = [await each.fleet.tokens.issue("account", make, refused=None, within=5.0) for each in (one, other)]
            assert ({each.id for each in shared}, made) == ({"token"}, 1)
            assert one.fleet.status()["redis"] == "here"


@pytest.mark.parametrize("wrong", ["authority", "host"])
async def test_a_certificate_that_is_not_the_servers_is_not_taken_and_nothing_fails(tmp_path: Path, wrong: str) -> None:
    port = free_port()
    tls = certificate(trustme.CA(), tmp_path, "127.0.0.1" if wrong == "authority" else "other.example")
    trusted = tmp_path / "ca.pem"
    if wrong == "authority":
        trusted = tmp_path / "other.pem"
        trustme.CA().cert_pem.write_to_path(trusted)
    async with redis_server("--tls-port", str(port), *tls) as server:
        async with Sidecar(f"rediss://127.0.0.1:{port}/0", ca_file=str(trusted), timeout=PATIENT) as sidecar:
            await sidecar.noted("redis is away")
            await permits([sidecar], 20)
            assert sidecar.rate.local
        assert await server.everything() == b""


async def clustered(server: Server, *slots: int) -> None:
    """The server is a cluster's node that has these slots, from the first to the last."""
    await server.command("CLUSTER", "ADDSLOTSRANGE", *slots)
    while b"cluster_state:ok" not in await server.command("CLUSTER", "INFO"):
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("prefix", ["asrproxy", "{asrproxy}"])
async def test_a_cluster_of_one_node_serves(tmp_path: Path, prefix: str) -> None:
    options = ("--cluster-enabled", "yes", "--cluster-config-file", str(tmp_path / "nodes.conf"), "--cluster-port", str(free_port()))
    async with redis_server(*options) as server:
        await clustered(server, 0, LAST_SLOT)
        async with Sidecar(server.url, prefix=prefix) as one, Sidecar(server.url, prefix=prefix) as other:
            await one.counts(2)
            await other.counts(2)
            await permits([one, other], 60)
            assert not one.rate.local
        slots = {
            await server.command("CLUSTER", "KEYSLOT", key.decode()) for key in (await server.command("KEYS", "*")).split(b"\r\n")[2::2]
        }
        assert len(slots) == 1


async def test_a_node_that_has_other_slots_is_as_good_as_away(tmp_path: Path) -> None:
    options = ("--cluster-enabled", "yes", "--cluster-config-file", str(tmp_path / "nodes.conf"), "--cluster-port", str(free_port()))
    options += ("--cluster-require-full-coverage", "no")
    async with redis_server(*options) as server:
        slot = int((await server.command("CLUSTER", "KEYSLOT", "asrproxy:rate:{aliyun}")).strip(b":\r\n"))
        others = [0, slot - 1] if slot else [1, LAST_SLOT]
        await clustered(server, *others)
        async with Sidecar(server.url) as sidecar:
            await sidecar.noted("redis is away")
            await permits([sidecar], 20)
            assert sidecar.rate.local
