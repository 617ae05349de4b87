"""Containers of the built image: the real file system, unpacked by umoci and run by runc, as locked down as a restricted pod."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIB = 2**20


@dataclass(frozen=True)
class Image:
    """bundle: what umoci made of the image, with the settings that a runtime would give it."""

    bundle: Path

    @property
    def rootfs(self) -> Path:
        return self.bundle / "rootfs"

    @property
    def settings(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.bundle / "config.json").read_text())
        return found


class Container:
    """One that runs. volume: the only folder that it can write to, `/tmp` inside. socket: of its API, where the test's file says so."""

    def __init__(self, name: str, state: Path, volume: Path, process: subprocess.Popen[str]) -> None:
        self.volume, self._name, self._state, self._process = volume, name, state, process
        self.log: list[dict[str, Any]] = []

    @property
    def socket(self) -> Path:
        return self.volume / "api.sock"

    def logged(self, event: str) -> dict[str, Any]:
        """The next line of its log with that event."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            try:
                self.log.append(json.loads(line))
            except ValueError:
                self.log.append({"event": line})
            if self.log[-1]["event"] == event:
                return self.log[-1]
        raise AssertionError(f"no {event!r} in {self.log}")

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command inside, as an engine's health check is."""
        return self._runc("exec", self._name, *command)

    def pid(self) -> int:
        return int(json.loads(self._runc("state", self._name).stdout)["pid"])

    def stop(self, signal: str) -> int:
        """Sends it and waits; the exit status."""
        self._runc("kill", self._name, signal)
        return self.wait()

    def wait(self) -> int:
        assert self._process.stderr is not None
        self.log.extend(json.loads(line) for line in self._process.stderr if line.startswith("{"))
        return self._process.wait(60)

    def end(self) -> None:
        if self._process.poll() is None:
            self._runc("kill", self._name, "KILL")
            self._process.wait(60)
        self._runc("delete", "--force", self._name)

    def _runc(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["runc", "--root", str(self._state), *arguments], capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def running(image: Image, arguments: Sequence[str], *, config: Path, memory: int | None = None) -> Iterator[Container]:
    """arguments: behind the image's entry point, as a pod's `args`. config: mounted at /etc/asrproxy. memory: MiB at most."""
    with tempfile.TemporaryDirectory(prefix="asrproxy-image-") as work:
        bundle, volume = Path(work, "bundle"), Path(work, "volume")
        bundle.mkdir()
        volume.mkdir()
        volume.chmod(0o777)
        config.chmod(0o755)  # pytest makes its folders for their owner only
        (bundle / "config.json").write_text(json.dumps(_locked_down(image, arguments, config, volume, memory)))
        name, state = Path(work).name, Path(work, "state")
        command = ["runc", "--root", str(state), "run", "--bundle", str(bundle), name]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True)
        container = Container(name, state, volume, process)
        try:
            yield container
        finally:
            container.end()
            assert process.stderr is not None
            process.stderr.close()


def _locked_down(image: Image, arguments: Sequence[str], config: Path, volume: Path, memory: int | None) -> dict[str, Any]:
    settings = image.settings
    process = settings["process"]
    entrypoint = process["args"][:1]  # the rest is the image's CMD, which arguments replace
    process |= {"terminal": False, "args": [*entrypoint, *arguments], "capabilities": {}, "noNewPrivileges": True}
    settings["root"] = {"path": str(image.rootfs), "readonly": True}
    mounts = [each for each in settings["mounts"] if each["type"] not in ("cgroup", "mqueue")]
    mounts.append({"destination": "/tmp", "type": "bind", "source": str(volume), "options": ["bind", "rw", "nosuid", "nodev", "noexec"]})
    mounts.append({"destination": "/etc/asrproxy", "type": "bind", "source": str(config), "options": ["bind", "ro"]})
    settings["mounts"] = mounts
    if memory is not None:
        settings["linux"]["resources"] = {"memory": {"limit": memory * MIB, "swap": memory * MIB}}
    return settings
