"""The image is what it says: it answers, says that it lives, ends when told to, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, UnixConnector

from asrproxy import __version__
from asrproxy.testing import tones
from tests.audio.audio_encoding import FORMS, TEXT, recording, video
from tests.cli.commands import COMMANDS
from tests.image.containers import Container, Image, running

pytestmark = pytest.mark.timeout(600)  # the first one builds

ROOT = Path(__file__).resolve().parents[2]
FILE = """
server: {listen: ["127.0.0.1:8790", "unix:/tmp/api.sock"], spool_memory: 64KiB, audio: {workers: 1}}
providers: {tones: {type: fake}}
"""
SERVE = ("serve", "-c", "/etc/asrproxy/asrproxy.yaml")
MEMORY = 256
"""MiB: the limit in deploy/k8s (a test there compares the two)."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("etc")
    (folder / "asrproxy.yaml").write_text(FILE)
    return folder


@pytest.fixture(scope="module")
def sidecar(image: Image, config: Path) -> Iterator[Container]:
    with running(image, SERVE, config=config, memory=MEMORY) as container:
        container.logged("listening")
        yield container


async def heard(container: Container, body: bytes) -> str:
    async with ClientSession("http://localhost", connector=UnixConnector(str(container.socket))) as session:
        answer = await session.post("/v1/recognize", data=body)
        assert answer.status == 200, await answer.text()
        text: str = (await answer.json())["text"]
        return text


@pytest.mark.parametrize("name", ["amr-nb", "amr-wb", *sorted(FORMS)])
async def test_every_kind_of_recording_is_heard_by_what_is_left_of_the_decoder(sidecar: Container, name: str) -> None:
    assert await heard(sidecar, recording(name)) == TEXT


@pytest.mark.parametrize("picture", ["libx264", "libx265", "libaom-av1", "libsvtav1"])
async def test_the_sound_of_a_film_is_heard_whatever_its_picture_was_made_with(sidecar: Container, tmp_path: Path, picture: str) -> None:
    """Encoders of pictures are not in the image; what looks into a picture is."""
    (tmp_path / "sound.wav").write_bytes(recording("wav-pcm16-mono-16000"))
    ffmpeg = ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=duration=3:size=64x64:rate=5", "-i", tmp_path / "sound.wav"]
    made = subprocess.run([*ffmpeg, "-c:v", picture, "-c:a", "aac", tmp_path / "film.mp4"], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"this ffmpeg does not encode with {picture}")
    assert await heard(sidecar, (tmp_path / "film.mp4").read_bytes()) == TEXT


async def test_a_webm_film_too(sidecar: Container) -> None:
    assert await heard(sidecar, video(audio=True)) == TEXT


def test_its_user_is_nobody_in_particular_and_has_no_rights(sidecar: Container) -> None:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{sidecar.pid()}/status").read_text().splitlines())
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"65532"}
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"


def test_the_health_command_of_the_containerfile_says_so(sidecar: Container, image: Image, config: Path) -> None:
    [line] = [line for line in (ROOT / "Containerfile").read_text().splitlines() if line.startswith("HEALTHCHECK ")]
    command = json.loads(line.partition(" CMD ")[2])
    said = sidecar.execute(*command)
    assert (said.returncode, said.stdout) == (0, '{"status":"live"}\n')
    assert command[0] == image.settings["process"]["args"][0]
    with running(image, command[1:], config=config) as alone:  # nobody listens in a container of its own
        assert alone.wait() == 1


async def test_it_ends_in_peace_on_its_stop_signal_with_nothing_left_on_its_volume(image: Image, config: Path) -> None:
    before = listing(image.rootfs)
    with running(image, SERVE, config=config, memory=MEMORY) as container:
        container.logged("listening")
        long = tones.to_wav(tones.synthesize(TEXT * 12), 16_000)
        assert len(long) > 64 * 1024  # more than is kept in memory
        assert await heard(container, long) == TEXT * 12
        assert await heard(container, recording("mp3-stereo-44100")) == TEXT
        assert {each.name for each in container.volume.iterdir()} == {"api.sock"}
        assert container.stop(image.settings["annotations"]["org.opencontainers.image.stopSignal"]) == 0
        assert [line["event"] for line in container.log if line["level"] in ("warning", "error")] == []
        assert list(container.volume.iterdir()) == []
    assert listing(image.rootfs) == before


async def test_what_is_in_flight_when_it_is_told_to_stop_is_answered(image: Image, tmp_path: Path) -> None:
    """However long it takes: without any drain, connections that are closed would get about 4 s."""
    (tmp_path / "asrproxy.yaml").write_text(FILE.replace("type: fake", "type: fake, latency: 8s"))
    with running(image, SERVE, config=tmp_path) as container:
        container.logged("listening")
        call = asyncio.create_task(heard(container, recording("wav-pcm16-mono-16000")))
        async with ClientSession("http://localhost", connector=UnixConnector(str(container.socket))) as session:
            while (await (await session.get("/v1/status")).json())["in_flight"] == 0:
                await asyncio.sleep(0.01)
        status = asyncio.create_task(asyncio.to_thread(container.stop, "SIGTERM"))
        assert await call == TEXT
        assert await status == 0


def test_check_finds_a_good_file_good_and_says_where_a_bad_one_is_bad(image: Image, config: Path, tmp_path: Path) -> None:
    with running(image, ["check", "-c", "/etc/asrproxy/asrproxy.yaml"], config=config) as container:
        assert container.wait() == 0
    (tmp_path / "asrproxy.yaml").write_text("providers: {a: {type: fake, latncy: 1s}}\n")
    with running(image, ["check", "-c", "/etc/asrproxy/asrproxy.yaml"], config=tmp_path) as container:
        container.logged("/etc/asrproxy/asrproxy.yaml:1: providers.a.latncy: unknown key; did you mean latency?\n")
        assert container.wait() == 2


def test_vendors_are_reached_over_tls_with_the_authorities_that_debian_trusts(sidecar: Container) -> None:
    said = sidecar.execute("/usr/bin/python3", "-c", "import ssl; print(len(ssl.create_default_context().get_ca_certs()))")
    assert int(said.stdout) > 100, said.stderr


@pytest.mark.parametrize(
    "name", ["sh", "bash", "dash", "busybox", "gcc", "cc", "ld", "as", "pip", "pip3", "apt-get", "dpkg", "perl", "ldconfig"]
)
def test_there_is_no_shell_compiler_or_package_manager(image: Image, name: str) -> None:
    assert not [each for each in image.rootfs.rglob(name) if each.is_file() or each.is_symlink()]


def test_nothing_that_was_trimmed_is_missed_by_a_module(sidecar: Container) -> None:
    """Ours, and those that are imported when they are needed: traces, Redis, progress bars, manifests."""
    ours = "asrproxy, asrproxy_aliyun, asrproxy_fake, asrproxy_http, asrproxy_local, asrproxy_openai, asrproxy_replay"
    later = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "redis.asyncio", "rich.progress", "ruamel.yaml", "pydub", "requests")
    code = (
        f"import importlib, pkgutil, {ours}, {', '.join(later)}\n"
        f"for package in ({ours}):\n"
        "    for each in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        if not each.name.endswith(('__main__', '.pytest_plugin', '.conformance')):\n"
        "            importlib.import_module(each.name)\n"
        "print('all of them')\n"
    )
    said = sidecar.execute("/usr/bin/python3", "-W", "ignore", "-c", code)
    assert said.stdout == "all of them\n", said.stderr


def test_no_file_belongs_to_its_user_or_gives_rights(image: Image) -> None:
    for path in image.rootfs.rglob("*"):
        facts = path.lstat()
        assert (facts.st_uid, facts.st_gid) == (0, 0), path
        if not path.is_symlink() and path != image.rootfs / "tmp":
            assert not facts.st_mode & (stat.S_IWOTH | stat.S_IWGRP | stat.S_ISUID | stat.S_ISGID), path


def test_nothing_that_runs_has_to_be_compiled_first(image: Image) -> None:
    """The root is read-only: what has no bytecode would be compiled at every start."""
    own = image.rootfs / "usr/local/lib/python3.11/dist-packages"
    sources = [each for package in own.glob("asrproxy*") for each in package.rglob("*.py")]
    assert len(sources) > 50
    for each in sources:
        assert (each.parent / "__pycache__" / f"{each.stem}.cpython-311.pyc").exists(), each


def test_it_says_what_it_is(image: Image) -> None:
    labels = image.settings["annotations"]
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert image.settings["process"]["args"] == ["/usr/bin/asrproxy", "serve"]


def test_scanners_find_debians_packages_and_the_licences(image: Image) -> None:
    packages = {each.name for each in (image.rootfs / "var/lib/dpkg/status.d").iterdir()}
    assert {"libc6", "libssl3", "python3.11-minimal"} <= packages
    for each in packages - {"base-files"}:
        assert (image.rootfs / "usr/share/doc" / each).exists(), each
    assert "bookworm" in (image.rootfs / "usr/lib/os-release").read_text()


def test_it_stays_as_small_as_the_readme_says(image: Image) -> None:
    size = sum(each.lstat().st_size for each in image.rootfs.rglob("*") if each.is_file() and not each.is_symlink())
    assert size < 120_000_000


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_can_be_asked_what_it_does(sidecar: Container, command: str) -> None:
    said = sidecar.execute("/usr/bin/asrproxy", command, "--help")
    assert said.returncode == 0, said.stderr
    assert "Usage: asrproxy" in said.stdout


def test_the_commands_are_those(sidecar: Container) -> None:
    said = sidecar.execute("/usr/bin/asrproxy", "--help").stdout.partition("Commands:")[2]
    assert [line.split()[0] for line in said.splitlines() if line[2:3].strip()] == COMMANDS


@pytest.mark.parametrize("command", ["status", "tail", "providers", "schema", "admission-policy"])
def test_commands_that_print_print_in_it(sidecar: Container, command: str) -> None:
    said = sidecar.execute("/usr/bin/asrproxy", command)
    assert said.returncode == 0, said.stderr
    assert said.stdout


async def test_it_recognises_a_file_and_injects_a_sidecar(sidecar: Container) -> None:
    (sidecar.volume / "a.mp3").write_bytes(recording("mp3-stereo-44100"))
    said = sidecar.execute("/usr/bin/asrproxy", "recognize", "/tmp/a.mp3", "--url", "http://127.0.0.1:8790", "--format", "srt")
    assert TEXT in said.stdout, said.stderr
    (sidecar.volume / "pod.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {asrproxy.io/inject: 'true'}, annotations: {asrproxy.io/config: c}}\n"
        "spec: {containers: [{name: a, image: a}]}\n"
    )
    said = sidecar.execute("/usr/bin/asrproxy", "inject", "-f", "/tmp/pod.yaml")
    assert "asrproxy" in said.stdout.partition("spec")[2], said.stderr
    for each in ("a.mp3", "pod.yaml"):
        (sidecar.volume / each).unlink()


def test_a_traceback_can_be_shown(sidecar: Container) -> None:
    code = "import rich.console\ntry: 1 / 0\nexcept ZeroDivisionError: rich.console.Console().print_exception()\n"
    (sidecar.volume / "fails.py").write_text(code)
    said = sidecar.execute("/usr/bin/python3", "/tmp/fails.py")
    (sidecar.volume / "fails.py").unlink()
    assert "ZeroDivisionError" in said.stdout, said.stderr
    assert "1 / 0" in said.stdout, said.stderr


def test_there_is_no_numpy_in_it(sidecar: Container) -> None:
    said = sidecar.execute("/usr/bin/python3", "-c", "import numpy")
    assert "No module named 'numpy'" in said.stderr


async def test_live_audio_of_another_rate_is_heard_in_it(sidecar: Container) -> None:
    pcm = tones.synthesize(TEXT, 44_100, tail=1.0)
    async with (
        ClientSession("http://localhost", connector=UnixConnector(str(sidecar.socket))) as session,
        session.ws_connect("/v1/stream") as socket,
    ):
        await socket.send_json({"type": "start", "sample_rate": 44_100, "encoding": "pcm_s16le"})
        for at in range(0, len(pcm), 9_600):
            await socket.send_bytes(pcm[at : at + 9_600])
        await socket.send_json({"type": "stop"})
        said = [message.json() async for message in socket]
    assert said[-1]["type"] == "done", said[-1]
    assert said[-1]["text"] == TEXT


def test_the_emulator_of_a_vendor_starts_in_it(sidecar: Container) -> None:
    code = (
        "import subprocess\n"
        "command = ['/usr/bin/asrproxy', 'emulate', 'aliyun', '--port', '0']\n"
        "with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as emulator:\n"
        "    print(emulator.stdout.readline())\n"
        "    emulator.terminate()\n"
    )
    said = sidecar.execute("/usr/bin/python3", "-c", code)
    assert said.stdout.startswith("ready gateway=http://"), said.stderr


def listing(root: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for each in root.rglob("*"):
        facts = each.lstat()
        found[str(each)] = (facts.st_mode, facts.st_size, facts.st_mtime_ns)
    return found
