"""`asrproxy health` tells an engine the truth about the sidecar, whatever the environment says of proxies."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.cli.running import Terminal
from tests.lifecycle.test_lifecycle_process import WAV, serving

ASRPROXY = Path(sys.executable).parent / "asrproxy"


async def health(*arguments: str, **environ: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        ASRPROXY, "health", *arguments, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_a_sidecar_that_lives_is_healthy_and_while_it_drains_it_is_not_ready(tmp_path: Path) -> None:
    async with serving(tmp_path, latency="600s") as running:
        ops = f"unix:{tmp_path / 'ops.sock'}"
        assert await health("--url", ops) == (0, '{"status":"live"}\n', "")
        assert (await health("--ready", ASRPROXY_OPS_URL=ops))[0] == 0
        stays = asyncio.create_task(running.api.post("/v1/recognize", data=WAV))
        while (await (await running.api.get("/v1/status")).json())["in_flight"] == 0:
            await asyncio.sleep(0.01)
        running.process.terminate()
        await running.logged("draining")
        assert (await health("--url", ops))[0] == 0
        status, out, err = await health("--url", ops, "--ready")
        assert (status, out) == (1, "")
        assert "draining" in err
        stays.cancel()
        await asyncio.gather(stays, return_exceptions=True)


async def test_a_proxy_in_the_environment_is_not_asked() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlive")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        nowhere = "http://127.0.0.1:9"
        assert await health("--url", f"http://127.0.0.1:{port}", http_proxy=nowhere, HTTP_PROXY=nowhere) == (0, "live\n", "")


@pytest.mark.parametrize("address", ["unix:/nowhere/ops.sock", "http://127.0.0.1:1"])
def test_where_nobody_listens_nobody_is_healthy(terminal: Terminal, address: str) -> None:
    said = terminal.run("health", "--url", address)
    assert (said.status, said.out) == (1, "")
    assert said.err.startswith("no answer from /livez: ")
    assert "Traceback" not in said.err


def test_another_scheme_is_refused(terminal: Terminal) -> None:
    assert terminal.run("health", "--url", "https://127.0.0.1:1").status == 2
