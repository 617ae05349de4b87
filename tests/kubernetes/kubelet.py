"""A kubelet for one pod: what a node does with a manifest, with runc and the real image, in a network of the pod's own.

Done as a node does it: ConfigMaps and Secrets as folders whose `..data` is swapped, native sidecars up before the containers and told to
end after them, hooks before SIGTERM, SIGKILL when the grace is over, probes from outside, `$(VAR)`, fields of the pod, users, memory limits
and a read-only root. Not done: anything that these manifests do not have (then it refuses), liveness, restarts, CPU.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession, UnixConnector

from tests.image.containers import Image
from tests.kubernetes.built import Json

# In the pod's network: brings its loopback up, and hands connections from sockets that tests can reach to ports that they cannot.
RELAY = """
import asyncio, fcntl, socket, struct, sys

with socket.socket() as control:
    fcntl.ioctl(control, 0x8914, struct.pack("16sh", b"lo", 0x41))

async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()

def serve(port):
    async def served(reader, writer):
        try:
            there, out = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pump(reader, out), pump(there, writer))
        writer.close(), out.close()
    return served

async def main():
    for each in sys.argv[1:]:
        port, path = each.split("=")
        await asyncio.start_unix_server(serve(int(port)), path)
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
MIB = 2**20
PATIENCE = 90.0
"""Seconds for a probe to pass, on a machine with other things to do."""


@dataclass
class Running:
    """A container. log: its lines so far."""

    name: str
    process: asyncio.subprocess.Process
    log: list[str] = field(default_factory=list)
    reading: asyncio.Task[None] | None = None
    killed: bool = False
    more: asyncio.Event = field(default_factory=asyncio.Event)

    async def logged(self, text: str) -> None:
        """Waits for a line with that text."""
        while not any(text in line for line in self.log):
            self.more.clear()
            assert self.process.returncode is None, f"{self.name} ended without {text!r}: {self.log}"
            await self.more.wait()

    async def read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.log.append(line.decode())
            self.more.set()
        await self.process.wait()
        self.more.set()


class Pod:
    """network: the process that holds its network. configs, secrets: by name, what their keys hold. claims: folders by name.

    hurry: what a second of a preStop hook's wait is worth.
    """

    def __init__(
        self,
        image: Image,
        template: Json,
        work: Path,
        network: int,
        *,
        configs: Mapping[str, Mapping[str, str]],
        secrets: Mapping[str, Mapping[str, str]],
        claims: Mapping[str, Path] | None = None,
        annotations: Mapping[str, str] | None = None,
        hosts: Sequence[str] = (),
        hurry: float = 1.0,
    ) -> None:
        self.spec: Json = template["spec"]
        self.network = network
        self.running: dict[str, Running] = {}
        self.ended: list[str] = []
        """Names, in the order in which they ended."""
        self._image, self._work, self._hurry, self._annotations = image, work, hurry, annotations or {}
        self._state = work / "state"
        self._volumes = {each["name"]: self._volume(each, configs, secrets, claims or {}) for each in self.spec.get("volumes", [])}
        (work / "hosts").write_text("127.0.0.1 localhost " + " ".join(hosts) + "\n")

    def volume(self, name: str) -> Path:
        return self._volumes[name]

    async def start(self) -> None:
        """Native sidecars first, each until its start-up probe has passed, then the containers, until they are ready."""
        for container in self.spec.get("initContainers", []):
            assert container.get("restartPolicy") == "Always", "only native sidecars are known here"
            await self._start(container)
            await self._pass(container, "startupProbe")
        for container in self.spec["containers"]:
            await self._start(container)
        for container in self.spec["containers"]:
            await self._pass(container, "startupProbe")
            await self._pass(container, "readinessProbe")

    async def complete(self) -> dict[str, int]:
        """Waits until the containers have ended of themselves, then ends the sidecars; exit statuses by name."""
        names = [each["name"] for each in self.spec["containers"]]
        await asyncio.gather(*(self._ended(name) for name in names))
        await self._stop_sidecars(self.spec.get("terminationGracePeriodSeconds", 30))
        return self.statuses()

    async def stop(self) -> dict[str, int]:
        """As when the pod is deleted; exit statuses by name, -9 for one that had to be killed."""
        grace = float(self.spec.get("terminationGracePeriodSeconds", 30))
        loop = asyncio.get_running_loop()
        end = loop.time() + grace
        await asyncio.gather(*(self._stop(each, end - loop.time()) for each in self.spec["containers"]))
        await self._stop_sidecars(max(2.0, end - loop.time()))  # a kubelet leaves them at least 2 s
        return self.statuses()

    def statuses(self) -> dict[str, int]:
        return {name: -9 if each.killed else int(each.process.returncode or 0) for name, each in self.running.items()}

    def swap(self, volume: str, content: Mapping[str, str]) -> None:
        """What a node does when a ConfigMap or Secret has changed: a new folder, and one rename."""
        folder = self._volumes[volume]
        name = f"..{len(list(folder.iterdir()))}"
        _write(folder / name, content)
        (folder / "..data_tmp").symlink_to(name)
        (folder / "..data_tmp").replace(folder / "..data")

    async def _stop(self, container: Json, grace: float) -> None:
        running = self.running[container["name"]]
        try:
            async with asyncio.timeout(grace):
                if (hook := container.get("lifecycle", {}).get("preStop")) is not None:
                    await self._runc("exec", self._id(container["name"]), *self._hurried(hook["exec"]["command"]))
                await self._runc("kill", self._id(container["name"]), "TERM")
                await self._ended(container["name"])
        except TimeoutError:
            running.killed = True
            await self._runc("kill", self._id(container["name"]), "KILL")
            await self._ended(container["name"])

    async def _stop_sidecars(self, grace: float) -> None:
        for container in reversed(self.spec.get("initContainers", [])):
            await self._stop(container, grace)

    async def _ended(self, name: str) -> None:
        await self.running[name].process.wait()
        if name not in self.ended:
            self.ended.append(name)

    def _hurried(self, command: list[str]) -> list[str]:
        """A wait of 30 s in a fraction of it."""
        return [re.sub(r"sleep\((\d+)\)", lambda match: f"sleep({int(match[1]) * self._hurry})", each) for each in command]

    async def _start(self, container: Json) -> None:
        name = container["name"]
        bundle = self._work / name
        bundle.mkdir()
        (bundle / "config.json").write_text(json.dumps(self._settings(container)))
        process = await asyncio.create_subprocess_exec(
            *("runc", "--root", self._state, "run", "--bundle", bundle, self._id(name)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        running = self.running[name] = Running(name, process)
        running.reading = asyncio.create_task(running.read())

    async def _pass(self, container: Json, probe: str) -> None:
        """Until a probe has passed; it comes from outside of the container. Raises TimeoutError: a node would give up now."""
        if probe not in container:
            return
        get = container[probe]["httpGet"]
        ports = {each["name"]: each["containerPort"] for each in container.get("ports", []) if "name" in each}
        port = ports.get(get["port"], get["port"])
        running = self.running[container["name"]]
        async with asyncio.timeout(PATIENCE):
            while True:
                assert running.process.returncode is None, running.log
                with contextlib.suppress(ClientError, OSError):
                    async with self.session(port) as session, session.get(get["path"]) as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.05)

    def session(self, port: int) -> ClientSession:
        return ClientSession("http://localhost", connector=UnixConnector(str(self._work / f"{port}.sock")))

    def _settings(self, container: Json) -> Json:
        image = self._image.settings
        process = image["process"]
        known = {"PATH": "", "HOME": "/tmp"} | dict(each.split("=", 1) for each in process["env"])
        for each in container.get("env", []):
            known[each["name"]] = self._value(each)
        given = container.get("command") or process["args"][:1]
        args = [*given, *container.get("args", [] if "command" in container else process["args"][1:])]
        args = [re.sub(r"\$\((\w+)\)", lambda match: known[match[1]], each) for each in args]
        security = {**self.spec.get("securityContext", {}), **container.get("securityContext", {})}
        assert security["runAsNonRoot"]
        user = security.get("runAsUser", process["user"]["uid"])
        group = {"additionalGids": [security["fsGroup"]]} if "fsGroup" in security else {}
        process |= {
            "terminal": False,
            "args": args,
            "env": [f"{name}={value}" for name, value in known.items()],
            "cwd": container.get("workingDir", process["cwd"]),
            "user": {"uid": user, "gid": security.get("runAsGroup", 0), **group},
            "capabilities": {} if security["capabilities"]["drop"] == ["ALL"] else process["capabilities"],
            "noNewPrivileges": not security["allowPrivilegeEscalation"],
        }
        image["root"] = {"path": str(self._image.rootfs), "readonly": security["readOnlyRootFilesystem"]}
        mounts = [each for each in image["mounts"] if each["type"] not in ("cgroup", "mqueue")]
        for each in container.get("volumeMounts", []):
            assert each.keys() <= {"name", "mountPath", "readOnly"}
            mode = "ro" if each.get("readOnly") else "rw"
            source = str(self._volumes[each["name"]])
            mounts.append({"destination": each["mountPath"], "type": "bind", "source": source, "options": ["bind", mode]})
        mounts.append({"destination": "/etc/hosts", "type": "bind", "source": str(self._work / "hosts"), "options": ["bind", "ro"]})
        image["mounts"] = mounts
        spaces = [each for each in image["linux"]["namespaces"] if each["type"] != "network"]
        limit = int(_bytes(container["resources"]["limits"]["memory"]))
        image["linux"]["namespaces"] = [*spaces, {"type": "network", "path": f"/proc/{self.network}/ns/net"}]
        image["linux"]["resources"] = {"memory": {"limit": limit, "swap": limit}}
        settings: Json = image
        return settings

    def _value(self, entry: Json) -> str:
        if "value" in entry:
            return str(entry["value"])
        path = re.fullmatch(r"metadata\.annotations\['(.*)'\]", entry["valueFrom"]["fieldRef"]["fieldPath"])
        assert path is not None
        return self._annotations[path[1]]

    def _volume(
        self, volume: Json, configs: Mapping[str, Mapping[str, str]], secrets: Mapping[str, Mapping[str, str]], claims: Mapping[str, Path]
    ) -> Path:
        folder = self._work / "volumes" / volume["name"]
        match volume:
            case {"persistentVolumeClaim": {"claimName": name}}:
                return claims[name]
            case {"emptyDir": _}:
                folder.mkdir(parents=True)
                folder.chmod(0o777)
                return folder
            case {"configMap": {"name": name}}:
                content = configs[name]
            case {"secret": {"secretName": name, **more}}:
                content = secrets[name]
                if "items" in more:
                    content = {each["path"]: content[each["key"]] for each in more["items"]}
            case _:
                raise AssertionError(f"no such volume is known here: {volume}")
        _write(folder / "..first", content)
        folder.chmod(0o755)
        (folder / "..data").symlink_to("..first")
        for each in content:
            (folder / each).symlink_to(f"..data/{each}")
        return folder

    def _id(self, name: str) -> str:
        return f"{self._work.name}-{name}"

    async def _runc(self, *arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *("runc", "--root", self._state, *arguments), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            await process.wait()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise

    async def aclose(self) -> None:
        for name, each in self.running.items():
            if each.process.returncode is None:
                await self._runc("kill", self._id(name), "KILL")
            await self._runc("delete", "--force", self._id(name))
            if each.reading is not None:
                await each.reading


@asynccontextmanager
async def network(work: Path, ports: Sequence[int]) -> AsyncIterator[int]:
    """A network with nothing but a loopback: the process that holds it. What listens at `ports` is reached through PORT.sock in `work`."""
    relays = [f"{port}={work / f'{port}.sock'}" for port in ports]
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--net", sys.executable, "-ISc", RELAY, *relays), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        yield process.pid
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def pod(image: Image, template: Json, *, ports: Sequence[int] = (8080, 8790, 8791), **more: Any) -> AsyncIterator[Pod]:
    """A pod that is not started yet, in a network of its own; all of it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="asrproxy-pod-") as folder:
        work = Path(folder)
        work.chmod(0o755)
        async with network(work, ports) as pid:
            made = Pod(image, template, work, pid, **more)
            try:
                yield made
            finally:
                await made.aclose()


def inside(pid: int, *command: str | Path) -> list[str | Path]:
    """A command as it runs in the network that `pid` holds."""
    return ["nsenter", f"--net=/proc/{pid}/ns/net", *command]


def runs_here() -> bool:
    """Whether this machine lets us make networks."""
    return subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode == 0


def _write(folder: Path, content: Mapping[str, str]) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    for name, text in content.items():
        (folder / name).write_text(text)


def _bytes(quantity: str) -> float:
    number, unit = quantity[:-2], quantity[-2:]
    return float(number) * {"Ki": 2**10, "Mi": MIB, "Gi": 2**30}[unit]
