"""The examples' pods, run as a node runs them: the real image, the manifests' own numbers, a vendor in the pod's network."""

from __future__ import annotations

import asyncio
import copy
import json
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientConnectionError

from asrproxy.testing import tones
from tests.image.conftest import image  # noqa: F401
from tests.image.containers import Image
from tests.image.test_image_runs import MEMORY
from tests.kubernetes.built import Json, built, pod_spec, proxy_of
from tests.kubernetes.kubelet import Pod, inside, pod, runs_here

pytestmark = [
    pytest.mark.timeout(600),  # the first one may have to build the image
    pytest.mark.skipif(shutil.which("nsenter") is None or not runs_here(), reason="this machine lets nobody make a network of a pod's own"),
]
TEXT = "天地玄黄"
WAV = tones.to_wav(tones.synthesize(TEXT), 16_000)
ASRPROXY = Path(sys.executable).parent / "asrproxy"
VENDOR = 8795
SECRET = {"appkey": "an-appkey", "access_key_id": "an-id", "access_key_secret": "a-secret", "token": "let-me-in", "shared_secret": "s3cret"}
HURRY = 0.1
"""A hook that waits 30 s waits 3 s here; grace and drain are the manifests' own."""


def configured(name: str, **sections: Any) -> dict[str, dict[str, str]]:
    """The example's ConfigMaps; the vendor is the emulator, and nothing else of the proxy's file differs but `sections`."""
    maps = {each["metadata"]["name"]: dict(each["data"]) for each in built(name).kind("ConfigMap")}
    file = yaml.safe_load(maps["asrproxy"]["asrproxy.yaml"])
    address = f"http://127.0.0.1:{VENDOR}"
    file["providers"]["aliyun"] |= {"gateway_url": address, "token_url": address}
    for key, value in sections.items():
        file[key] |= value
    maps["asrproxy"]["asrproxy.yaml"] = yaml.safe_dump(file)
    return maps


@asynccontextmanager
async def vendor(network: int, *, latency: str = "0s", secret: str = SECRET["access_key_secret"]) -> AsyncIterator[None]:
    """NLS as the emulator is it, in a pod's network."""
    keys = ["--appkey", SECRET["appkey"], "--access-key-id", SECRET["access_key_id"], "--access-key-secret", secret]
    command = [ASRPROXY, "emulate", "aliyun", "--port", str(VENDOR), "--latency", latency, *keys]
    process = await asyncio.create_subprocess_exec(*inside(network, *command), stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert (await process.stdout.readline()).startswith(b"ready")
        yield
    finally:
        process.terminate()
        await process.communicate()


@asynccontextmanager
async def started(image: Image, name: str, *, latency: str = "0s", changed: Json | None = None, **more: Any) -> AsyncIterator[Pod]:  # noqa: F811
    """An example's pod with its vendor, up and ready. changed: a template in place of the manifest's."""
    settings = {"configs": configured(name), "secrets": {"asrproxy": SECRET}, "hurry": HURRY} | more
    async with pod(image, changed or template(name), **settings) as made, vendor(made.network, latency=latency):
        await made.start()
        yield made


def template(name: str) -> Json:
    """Of the pods with the proxy in them; a copy."""
    copied: Json = copy.deepcopy(built(name).proxied["spec"]["template"])
    return copied


async def asked(made: Pod, port: int = 8080, path: str = "/", **headers: str) -> tuple[int, str]:
    async with made.session(port) as session, session.post(path, data=WAV, headers=headers) as answer:
        return answer.status, (await answer.text()).strip()


async def in_flight(made: Pod, count: int) -> None:
    """Waits until the proxy works on so many."""
    async with made.session(8790) as session:
        while (await (await session.get("/v1/status")).json())["in_flight"] < count:
            await asyncio.sleep(0.02)


async def test_a_native_sidecar_outlives_the_application_and_what_is_in_flight_is_answered(image: Image) -> None:  # noqa: F811
    async with started(image, "sidecar-native", latency="3s") as made:
        calls = [asyncio.create_task(asked(made)) for _ in range(8)]
        await in_flight(made, 8)
        statuses = await made.stop()
        assert [await each for each in calls] == [(200, TEXT)] * 8
        assert statuses == {"example": 0, "asrproxy": 0}
        assert made.ended == ["example", "asrproxy"]
        drained = [line for line in made.running["asrproxy"].log if "draining" in line]
        assert [json.loads(each)["in_flight"] for each in drained] == [0]  # it was told when nobody was left


async def test_a_classic_sidecar_serves_on_while_the_application_ends(image: Image) -> None:  # noqa: F811
    async with started(image, "sidecar-classic", latency="2s") as made:
        calls = [asyncio.create_task(asked(made)) for _ in range(4)]
        await in_flight(made, 4)
        stopping = asyncio.create_task(made.stop())
        assert [await each for each in calls] == [(200, TEXT)] * 4
        await made.running["example"].process.wait()
        # What an application asks at its very end, after it was told to go:
        assert (await asked(made, 8790, "/v1/recognize?response_format=text")) == (200, TEXT)
        assert await stopping == {"example": 0, "asrproxy": 0}


async def test_without_its_hook_a_classic_sidecar_would_be_gone_before_the_application(image: Image) -> None:  # noqa: F811
    """Why the hook is there."""
    without = template("sidecar-classic")
    del proxy_of(without["spec"])["lifecycle"]
    async with started(image, "sidecar-classic", latency="2s", changed=without) as made:
        call = asyncio.create_task(asked(made))
        await in_flight(made, 1)
        stopping = asyncio.create_task(made.stop())
        await made.running["asrproxy"].logged("draining")
        try:
            late = (await asked(made, 8790, "/v1/recognize"))[0]
        except ClientConnectionError:
            late = 0
        assert late in (0, 503)
        assert await call == (200, TEXT)
        await stopping


async def test_a_changed_configmap_and_a_rotated_secret_reach_a_running_pod(image: Image) -> None:  # noqa: F811
    configs = configured("sidecar-native")
    async with pod(image, template("sidecar-native"), configs=configs, secrets={"asrproxy": SECRET}) as made:
        async with vendor(made.network):
            await made.start()
            assert await asked(made) == (200, TEXT)
        sidecar = made.running["asrproxy"]
        async with vendor(made.network, secret="a-new-secret"):  # the old key, and all that it has given, are worth nothing now
            status, said = await asked(made)
            assert (status, json.loads(said)["error"]["code"]) == (502, "provider_auth")
            made.swap("asrproxy-secret", SECRET | {"access_key_secret": "a-new-secret"})
            await sidecar.logged("configuration taken")
            assert await asked(made) == (200, TEXT)
            sidecar.log.clear()
            file = yaml.safe_load(configs["asrproxy"]["asrproxy.yaml"])
            made.swap("asrproxy-config", {"asrproxy.yaml": yaml.safe_dump(file | {"nonsense": True})})
            await sidecar.logged("configuration refused")
            assert await asked(made) == (200, TEXT)
            file["server"]["max_body"] = "1KiB"
            made.swap("asrproxy-config", {"asrproxy.yaml": yaml.safe_dump(file)})
            await sidecar.logged("configuration taken")
            assert (await asked(made))[0] == 413
            assert await made.stop() == {"example": 0, "asrproxy": 0}


async def test_a_gateway_asks_for_a_token_shares_through_redis_and_ends_in_peace(image: Image) -> None:  # noqa: F811
    if (program := shutil.which("redis-server")) is None:
        pytest.skip("redis-server is not installed")
    documents = built("gateway")
    [redis] = pod_spec(documents.one("Deployment", "asrproxy-redis"))["containers"]
    caller = documents.one("Deployment", "example")["spec"]["template"]
    # What Services and DNS do in a cluster, the pod's own hosts file does here; both pods are one.
    together = template("gateway")
    together["spec"]["containers"] += caller["spec"]["containers"]
    together["spec"]["volumes"] += caller["spec"]["volumes"]
    settings: dict[str, Any] = {"configs": configured("gateway"), "secrets": {"asrproxy": SECRET}, "hurry": HURRY}
    async with pod(image, together, hosts=["asrproxy-redis", "asrproxy"], **settings) as made, vendor(made.network, latency="2s"):
        arguments = [str(made.volume("asrproxy-spool")) if each == "/data" else each for each in redis["args"]]
        shared = await asyncio.create_subprocess_exec(*inside(made.network, program, *arguments), stdout=asyncio.subprocess.DEVNULL)
        try:
            await made.start()
            assert (await asked(made, 8790, "/v1/recognize"))[0] == 401
            headers = {"Authorization": f"Bearer {SECRET['token']}"}
            async with made.session(8790) as session:
                fleet: Any = None
                while fleet is None or fleet["redis"] != "here":
                    fleet = (await (await session.get("/v1/status", headers=headers)).json())["fleet"]
                    await asyncio.sleep(0.05)
            calls = [asyncio.create_task(asked(made)) for _ in range(4)]
            async with made.session(8791) as session:
                while "asrproxy_requests_in_flight 4.0" not in await (await session.get("/metrics")).text():  # what it is scaled by
                    await asyncio.sleep(0.02)
            stopping = asyncio.create_task(made.stop())
            assert [await each for each in calls] == [(200, TEXT)] * 4
            assert await stopping == {"example": 0, "asrproxy": 0}
        finally:
            shared.terminate()
            await shared.wait()


async def test_a_jobs_pods_do_their_shares_and_end_with_their_sidecars(image: Image, tmp_path: Path) -> None:  # noqa: F811
    documents = built("archive-job")
    configs = configured("archive-job")
    [text] = [each["recordings.txt"] for each in configs.values() if "recordings.txt" in each]
    names = [line for line in text.splitlines() if line and not line.startswith("#")]
    for each in names:
        (tmp_path / each).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / each).write_bytes(WAV)  # what a file is, its bytes say
    tmp_path.chmod(0o777)

    async def indexed(index: int) -> dict[str, int]:
        annotations = {"batch.kubernetes.io/job-completion-index": str(index)}
        more: dict[str, Any] = {"configs": configs, "claims": {"archive": tmp_path}, "annotations": annotations}
        async with started(image, "archive-job", **more) as made:
            return await made.complete()

    for index in range(len(names)):
        assert await indexed(index) == {"transcripts": 0, "asrproxy": 0}
        done = {str(each.relative_to(tmp_path / "transcripts").with_suffix("")) for each in (tmp_path / "transcripts").rglob("*.json")}
        assert done == {each.rpartition(".")[0] for each in names[: index + 1]}
    assert json.loads(next((tmp_path / "transcripts").rglob("*.json")).read_text())["text"] == TEXT
    assert documents.proxied["spec"]["completions"] > len(names)  # the last share is empty, and done at once


def test_the_images_own_tests_give_it_less_memory_than_the_manifests_do() -> None:
    limit = proxy_of(pod_spec(built("sidecar-native").proxied))["resources"]["limits"]["memory"]
    assert limit == "1Gi"
    assert MEMORY < 1024
