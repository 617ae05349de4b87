"""The fault table, names and certificates: what the vendor's host shows itself as, and where its name leads."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from asrproxy_aliyun.emulator import Emulator
from tests.faults.proxy import FaultProxy
from tests.faults.world import world

CALLERS = 5
HOST = "gateway.example"


def shown(ca: trustme.CA, *names: str, **more: Any) -> ssl.SSLContext:
    """What a server shows that has a certificate of `ca`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*names, **more).configure_cert(context)
    return context


def expired(trusted: trustme.CA) -> ssl.SSLContext:
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    return shown(trusted, "127.0.0.1", not_before=yesterday - datetime.timedelta(days=30), not_after=yesterday)


BAD: dict[str, tuple[Callable[[trustme.CA], ssl.SSLContext], str]] = {
    "expired": (expired, "expired"),
    "of another host": (lambda trusted: shown(trusted, "127.0.0.2", "other.example"), "is not valid for"),
    "of an unknown CA": (lambda trusted: shown(trustme.CA(), "127.0.0.1"), "unable to get local issuer certificate"),
}


@pytest.mark.parametrize("transport", ["rest", "websocket"])
@pytest.mark.parametrize("name", BAD)
async def test_a_bad_certificate_is_refused_said_and_recovered_from(tmp_path: Path, name: str, transport: str) -> None:
    trusted = trustme.CA()
    trusted.cert_pem.write_to_path(tmp_path / "ca.pem")
    good = shown(trusted, "127.0.0.1")
    make, reason = BAD[name]
    async with Emulator() as cloud, FaultProxy(cloud.gateway_url, tls=good) as proxy:
        settings = {"transport": transport, "gateway_url": proxy.url, "ca_file": str(tmp_path / "ca.pem")}
        async with world(cloud, tmp_path / "spool", aliyun=settings) as running:
            assert (await running.ask()).outcome == "ok"
            before = await running.rests()
            heard = len(cloud.calls)
            proxy.tls = make(trusted)

            answers = await running.ask_many(CALLERS)

            assert {each.outcome for each in answers} <= {"provider_error", "circuit_open"}
            said = next(each for each in answers if each.outcome == "provider_error").body["error"]
            assert "certificate" in said["message"]
            assert reason in said["message"]
            assert "ca_file" in said["message"]
            assert len(cloud.calls) == heard, "nothing is sent to one who is not the vendor"
            proxy.tls = good
            await running.recovers()
            await running.rests(before)


class Names:
    """Stands where the operating system answers for names.

    addresses: of HOST, none: it has none. answering: cleared while the name server is silent; the question is put again until it speaks.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.addresses: list[str] = []
        self.answering = asyncio.Event()
        self.answering.set()
        loop = asyncio.get_running_loop()
        ask = loop.getaddrinfo

        async def answer(host: Any, port: Any, **options: Any) -> Any:
            if host != HOST:
                return await ask(host, port, **options)
            await self.answering.wait()
            if not self.addresses:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in self.addresses]

        monkeypatch.setattr(loop, "getaddrinfo", answer)


@pytest.mark.parametrize("transport", ["rest", "websocket"])
@pytest.mark.parametrize("silent", [False, True], ids=["fails", "silent"])
async def test_a_name_without_an_address_is_said_and_recovered_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transport: str, silent: bool
) -> None:
    names = Names(monkeypatch)
    async with Emulator() as cloud, FaultProxy(cloud.gateway_url) as proxy:
        settings = {"transport": transport, "gateway_url": f"http://{HOST}:{proxy.port}"}
        async with world(cloud, tmp_path / "spool", aliyun=settings) as running:
            before = await running.rests()
            if silent:
                names.answering.clear()

            answers = await running.ask_many(CALLERS)

            assert {each.outcome for each in answers} <= {"provider_error", "circuit_open"}
            assert any(HOST in each.body["error"]["message"] for each in answers) or silent
            names.addresses = ["127.0.0.1"]
            names.answering.set()
            await running.recovers()
            await running.rests(before)


@pytest.mark.parametrize("transport", ["rest", "websocket"])
async def test_a_vendor_that_has_moved_is_found_at_its_new_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transport: str) -> None:
    names = Names(monkeypatch)
    names.addresses = ["127.0.0.2"]
    async with Emulator() as cloud, FaultProxy(cloud.gateway_url, host="127.0.0.2") as old:
        port = old.port
        async with (
            FaultProxy(cloud.gateway_url, host="127.0.0.3", port=port) as new,
            world(cloud, tmp_path / "spool", aliyun={"transport": transport, "gateway_url": f"http://{HOST}:{port}"}) as running,
        ):
            assert (await running.ask()).outcome == "ok"
            before = await running.rests()
            names.addresses = ["127.0.0.3"]
            await old.__aexit__(None, None, None)

            answer = await running.ask()

            # The address that was known fails once; the next attempt asks for the name again.
            assert answer.outcome == "ok"
            assert [each["outcome"] for each in answer.body["attempts"]] == ["failed", "ok"]
            assert new.accepted == 1
            await running.recovers()
            await running.rests(before)
