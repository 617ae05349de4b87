"""What is injected runs: the container's arguments, variables, probes and hook, as processes in place of containers."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import aiohttp

from asrproxy.kube.settings import InjectionSettings
from asrproxy.testing import tones
from tests.cli.running import ASRPROXY
from tests.fleet.serving import free_port
from tests.kubernetes.conftest import ROOT
from tests.kubernetes.pods import injected, sidecar, simple


def mounted(container: dict[str, Any], folder: Path) -> dict[str, Path]:
    """A folder for each of the container's mounts, by its path in the container."""
    places = {each["mountPath"]: folder / each["name"] for each in container["volumeMounts"]}
    for each in places.values():
        each.mkdir()
    return places


def here(text: str, places: dict[str, Path]) -> str:
    """A container's text with the machine's paths; the longest first, as one begins like another."""
    for path in sorted(places, key=len, reverse=True):
        text = text.replace(path, str(places[path]))
    return text


async def test_the_container_starts_answers_its_probes_and_ends(tmp_path: Path) -> None:
    api, ops = free_port(), free_port()
    settings = InjectionSettings(api_port=api, ops_port=ops)
    container = sidecar(injected(simple(secret="keys", route="two"), settings))
    places = mounted(container, tmp_path)
    (places["/etc/asrproxy-secret"] / "key").write_text("geheim\n")
    (places["/etc/asrproxy"] / settings.config_key).write_text(
        f"server: {{listen: '127.0.0.1:{api}', ops_listen: '127.0.0.1:{ops}', tokens: ['${{file:{places['/etc/asrproxy-secret']}/key}}'],"
        f" spool_memory: 1KiB}}\nproviders: {{one: {{type: fake}}, two: {{type: fake}}}}\n"
    )
    environ = {each["name"]: here(each["value"], places) for each in container["env"]}
    environ |= {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT / 'providers'}"}
    command = [ASRPROXY, *(here(each, places) for each in container["args"])]
    with subprocess.Popen(command, env=environ, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if "listening" in line:
                    break
            async with aiohttp.ClientSession() as session:
                for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                    asked = container[probe]["httpGet"]
                    async with session.get(f"http://127.0.0.1:{asked['port']}{asked['path']}") as answer:
                        assert answer.status == 200
                variable = {each["name"]: each for each in injected(simple(env="true"), settings)["spec"]["containers"][0]["env"]}[
                    "ASR_URL"
                ]
                recording = tones.to_wav(tones.synthesize("天地"), 16_000)
                headers = {"Authorization": "Bearer geheim"}
                async with session.post(f"{variable['value']}/v1/recognize", data=recording, headers=headers) as answer:
                    assert (await answer.json())["provider"] == "two"
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 60) == 0
        finally:
            process.kill()
    left = {str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*") if each.is_file()}
    assert left == {"asrproxy-config/asrproxy.yaml", "asrproxy-secret/key"}


def test_the_hook_waits_and_ends_well() -> None:
    container = sidecar(injected(simple(mode="classic"), InjectionSettings(wait=0)))
    command = container["lifecycle"]["preStop"]["exec"]["command"]
    subprocess.run(command, env={"PATH": os.environ["PATH"]}, check=True, timeout=60)
