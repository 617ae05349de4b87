"""The webhook over real TLS: an API server's questions about pods of real life, certificates that change, and a quiet end."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import ssl
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from asrproxy.errors import ConfigError
from asrproxy.events import Event, Noted
from asrproxy.kube.certificates import Certificates
from asrproxy.kube.inject import inject
from asrproxy.kube.settings import InjectionSettings
from asrproxy.kube.webhook import LARGEST, Webhook, webhook
from tests.cli.running import ASRPROXY, Terminal
from tests.kubernetes.json_patch import patched
from tests.kubernetes.pods import DEFAULTS, Pod, Shape, injected, shape, shapes
from tests.kubernetes.validity import NEWEST, pod_faults


class Authority:
    """Makes certificates for `localhost`, into the files that a webhook watches."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self.key = folder / "tls.crt", folder / "tls.key"
        self._ca = trustme.CA()
        self.issue()

    def issue(self) -> bytes:
        """A new one; its DER."""
        made = self._ca.issue_cert("localhost", "127.0.0.1")
        for path, text in ((self.certificate, made.cert_chain_pems[0].bytes()), (self.key, made.private_key_pem.bytes())):
            fresh = path.with_suffix(".new")
            fresh.write_bytes(text)
            fresh.replace(path)
        return ssl.PEM_cert_to_DER_cert(made.cert_chain_pems[0].bytes().decode())

    def client(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self._ca.configure_trust(context)
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class ApiServer:
    """Asks as an API server does."""

    def __init__(self, running: Webhook, certificates: Certificates, session: aiohttp.ClientSession, events: list[Noted]) -> None:
        self.running, self.certificates, self.session, self.events = running, certificates, session, events

    async def ask(self, pod: Pod, *, path: str = "/inject/all", **request: Any) -> dict[str, Any]:
        """The answer's `response`."""
        review = reviewing(pod, **request)
        async with self.session.post(self.running.url + path, json=review) as answer:
            assert answer.status == 200
            given = await answer.json()
        assert (given["apiVersion"], given["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
        assert given["response"]["uid"] == review["request"]["uid"]
        return given["response"]  # type: ignore[no-any-return]

    async def admit(self, pod: Pod, **request: Any) -> Pod:
        """The pod as it goes on through the API server."""
        response = await self.ask(pod, **request)
        assert response["allowed"] is True
        return patched(pod, patch_of(response))  # type: ignore[no-any-return]

    async def metric(self, outcome: str) -> float:
        async with self.session.get(f"{self.running.url}/metrics") as answer:
            text = await answer.text()
        [line] = [each for each in text.splitlines() if each.startswith(f'asrproxy_injections_total{{outcome="{outcome}"}}')]
        return float(line.split()[-1])


def reviewing(pod: Pod, *, operation: str = "CREATE", kind: str = "Pod", **more: Any) -> dict[str, Any]:
    group = {"group": "", "version": "v1", "kind": kind}
    request = {
        "uid": str(uuid.uuid4()),
        "kind": group,
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "requestKind": group,
        "requestResource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": "shop",
        "operation": operation,
        "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller", "groups": ["system:authenticated"]},
        "object": {"apiVersion": "v1", "kind": "Pod", **pod, "status": {}},
        "oldObject": None,
        "dryRun": False,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        **more,
    }
    return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}


def patch_of(response: dict[str, Any]) -> list[dict[str, Any]]:
    if "patch" not in response:
        assert "patchType" not in response
        return []
    assert response["patchType"] == "JSONPatch"
    return json.loads(base64.b64decode(response["patch"], validate=True))  # type: ignore[no-any-return]


@asynccontextmanager
async def api_server(authority: Authority, settings: InjectionSettings = DEFAULTS) -> AsyncIterator[ApiServer]:
    events: list[Noted] = []

    def note(event: Event) -> None:
        assert isinstance(event, Noted)
        events.append(event)

    certificates = Certificates(authority.certificate, authority.key, observer=note)
    connector = aiohttp.TCPConnector(ssl=authority.client())
    async with (
        webhook(settings, certificates, listen="127.0.0.1:0", observer=note) as running,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        yield ApiServer(running, certificates, session, events)


async def test_the_shapes_of_real_life(authority: Authority) -> None:
    assert len(shapes()) >= 20
    async with api_server(authority) as server:
        for each in shapes():
            response = await server.ask(each.pod)
            await the_answer_is_as_expected(each, response, server)


async def the_answer_is_as_expected(each: Shape, response: dict[str, Any], server: ApiServer) -> None:
    after = patched(each.pod, patch_of(response))
    assert response["allowed"] is (each.expect != "refused"), each
    match each.expect:
        case "injected":
            assert after == injected(each.pod)
            assert pod_faults(after, NEWEST) == []
            assert await server.admit(after) == after  # another webhook changed the pod, and this one is asked once more
        case "refused":
            assert response["status"]["message"].startswith("asrproxy: no sidecar: ")
            assert after == each.pod
        case "left":
            assert response["warnings"][0].startswith("asrproxy: no sidecar: ")
            assert after == each.pod
        case "unchanged":
            assert response.keys() == {"uid", "allowed"}


async def test_failing_open_lets_a_pod_start_without_and_says_so(authority: Authority) -> None:
    async with api_server(authority, InjectionSettings(fail="open")) as server:
        response = await server.ask(shape("bad-value"))
        assert response["allowed"] is True
        assert response["warnings"] == ["asrproxy: no sidecar: asrproxy.io/inject: expected true or false"]
        assert "patch" not in response
        assert await server.metric("left") == 1


async def test_one_address_is_for_pods_that_ask_the_other_for_all(authority: Authority) -> None:
    unasked = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "b"}]}}
    async with api_server(authority) as server:
        assert await server.admit(unasked, path="/inject") == unasked
        assert await server.admit(unasked, path="/inject/all") == injected(unasked)
        assert await server.admit(shape("plain"), path="/inject") == injected(shape("plain"))


async def test_only_new_pods_are_looked_at(authority: Authority) -> None:
    pod = shape("plain")
    async with api_server(authority) as server:
        for request in ({"operation": "UPDATE"}, {"operation": "DELETE"}, {"subResource": "ephemeralcontainers"}, {"kind": "Deployment"}):
            assert await server.admit(pod, **request) == pod
        assert await server.admit({"metadata": {}, "spec": {}}) == {"metadata": {}, "spec": {}}  # the API server refuses it itself


async def test_a_dry_run_is_answered_alike_and_not_counted(authority: Authority) -> None:
    async with api_server(authority) as server:
        real, tried = await server.ask(shape("plain")), await server.ask(shape("plain"), dryRun=True)
        assert real["patch"] == tried["patch"]
        assert await server.metric("injected") == 1
        assert [each.details["dry_run"] for each in server.events if each.event == "pod injected"] == [False, True]


async def test_the_log_names_the_pod_and_none_of_what_is_in_it(authority: Authority) -> None:
    pod = shape("plain")
    pod["spec"]["containers"][0]["env"] = [{"name": "PASSWORD", "value": "geheim"}]
    async with api_server(authority) as server:
        await server.ask(pod)
        [event] = [each for each in server.events if each.event.startswith("pod ")]
    assert event.details["pod"] == "shop/web-"
    assert "geheim" not in repr(event)


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{}", "application/json", 400),
        (b"not json", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1beta1", "request": {"uid": "x"}}', "application/json", 400),
        (b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {}}', "application/json", 400),
        (b'{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {"uid": "x"}}', "text/plain", 415),
        (b" " * (LARGEST + 1), "application/json", 413),
    ],
    ids=["no review", "no json", "deep", "no text", "old version", "no uid", "no json type", "too large"],
)
async def test_what_is_no_review_is_an_error_that_the_api_server_understands(
    authority: Authority, body: bytes, content_type: str, status: int
) -> None:
    async with api_server(authority) as server:
        async with server.session.post(f"{server.running.url}/inject", data=body, headers={"Content-Type": content_type}) as answer:
            assert answer.status == status
            assert (await answer.json())["error"]["message"]
        assert await server.admit(shape("plain")) == injected(shape("plain"))


async def test_only_modern_tls(authority: Authority) -> None:
    async with api_server(authority) as server:
        host, port = "127.0.0.1", int(server.running.url.rpartition(":")[2])
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = authority.client()
            context.minimum_version = context.maximum_version = version
            _, writer = await asyncio.open_connection(host, port, ssl=context)
            writer.close()
        old = authority.client()
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection(host, port, ssl=old)


async def test_a_new_certificate_is_for_new_connections_and_drops_none(authority: Authority) -> None:
    async with api_server(authority) as server:
        host, port = "127.0.0.1", int(server.running.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection(host, port, ssl=authority.client())

        async def live() -> bytes:
            writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
            await reader.readexactly(length)
            return head.split(b"\r\n", 1)[0]

        assert await live() == b"HTTP/1.1 200 OK"
        fresh = authority.issue()
        while not any(each.event == "certificate taken" for each in server.events):  # by its own watching
            await asyncio.sleep(0.05)
        assert await live() == b"HTTP/1.1 200 OK"
        writer.close()
        assert await certificate_of(host, port, authority) == fresh


async def certificate_of(host: str, port: int, authority: Authority) -> bytes:
    _, writer = await asyncio.open_connection(host, port, ssl=authority.client())
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return bytes(shown)


async def test_a_certificate_that_is_none_is_refused_and_the_old_one_stays(authority: Authority) -> None:
    async with api_server(authority) as server:
        host, port = "127.0.0.1", int(server.running.url.rpartition(":")[2])
        before = await certificate_of(host, port, authority)
        authority.key.write_text("not a key")
        server.certificates.look()
        assert [each.event for each in server.events if each.level == "warning"] == ["certificate refused"]
        authority.certificate.unlink()
        server.certificates.look()
        assert await certificate_of(host, port, authority) == before


async def test_a_mounted_secrets_swap_is_noticed(tmp_path: Path) -> None:
    """As the kubelet does it: the files are links into `..data`, which is a link that is renamed over."""
    first, second = tmp_path / "..1", tmp_path / "..2"
    for each in (first, second):
        each.mkdir()
        Authority(each)
    (tmp_path / "..data").symlink_to(first.name)
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    events: list[Event] = []
    certificates = Certificates(tmp_path / "tls.crt", tmp_path / "tls.key", observer=events.append)
    certificates.look()
    assert events == []
    (tmp_path / "..tmp").symlink_to(second.name)
    (tmp_path / "..tmp").rename(tmp_path / "..data")
    certificates.look()
    assert [each.event for each in events if isinstance(each, Noted)] == ["certificate taken"]


def test_files_that_cannot_be_used_at_the_start_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tls\.crt and .*tls\.key cannot be used"):
        Certificates(tmp_path / "tls.crt", tmp_path / "tls.key", observer=lambda event: None)


@pytest.fixture
def process(terminal: Terminal, authority: Authority) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`asrproxy webhook` as a process; its URL."""
    terminal.write("settings.yaml", "image: registry.example/asr:5\n")
    command = [ASRPROXY, "webhook", "--cert", authority.certificate, "--key", authority.key, "--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        [*command, "--settings", "settings.yaml", "--linger", "600"],
        cwd=terminal.folder, env=dict(terminal.environ), stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        try:
            assert running.stderr is not None
            url = next(json.loads(line)["url"] for line in running.stderr if "listening" in line)
            yield running, url
        finally:
            running.kill()


async def test_the_command_serves_until_it_is_told_to_end(process: tuple[subprocess.Popen[str], str], authority: Authority) -> None:
    running, url = process
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=authority.client())) as session:
        async with session.post(f"{url}/inject", json=reviewing(shape("plain"))) as answer:
            patch = patch_of((await answer.json())["response"])
        assert patch == [each.written() for each in inject(shape("plain"), InjectionSettings(image="registry.example/asr:5"))]
        async with session.get(f"{url}/readyz") as answer:
            assert answer.status == 200
        os.kill(running.pid, signal.SIGTERM)
        while True:  # still served, but for no longer than the endpoints need to know
            async with session.get(f"{url}/readyz") as answer:
                if answer.status == 503:
                    assert answer.headers["Connection"] == "close"
                    break
        async with session.post(f"{url}/inject", json=reviewing(shape("plain"))) as answer:
            assert (await answer.json())["response"]["allowed"] is True
    os.kill(running.pid, signal.SIGTERM)
    assert await asyncio.to_thread(running.wait, 60) == 0


def test_a_taken_address_and_missing_files_are_said(terminal: Terminal, authority: Authority) -> None:
    missing = terminal.run("webhook", "--cert", "none.crt", "--key", "none.key")
    assert missing.status == 1
    assert missing.err == "asrproxy: none.crt and none.key cannot be used: No such file or directory\n"
    assert terminal.run("webhook", "--cert", "a", "--key", "b", "--listen", "here").status == 2


def test_a_sidecar_starts_without_any_of_this() -> None:
    """The kube room costs a sidecar neither time nor memory."""
    imports = "import asrproxy.cli.main, asrproxy.cli.commands, asrproxy.api.serve, sys"
    script = f"{imports}; print([name for name in sys.modules if name.startswith(('asrproxy.kube', 'ruamel'))])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
