"""How many requests a second, and what each costs: asrproxy, a minimal forwarder, nginx, what teams run today, and the gateways.

    python -m bench.throughput [--seconds 8] [--rounds 3] [--connections 64] [--without flask litellm portkey]

Closed loop (wrk), in turns, on the same machine in one run; ratios are of medians of the same rounds. The server under measurement has the
cores that are named in the table to itself as far as the machine allows: load and vendor run on the last core. The vendor is nginx with a
fixed answer; for the Flask stack and for the row of asrproxy beside it, the NLS emulator, since the vendor's SDK speaks WebSocket.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median

from bench.load import Throughput, throughput
from bench.peers import starting
from bench.request_cost import TEXT, tone
from bench.running import Running, emulator, forwarder, sidecar, sidecar_of, table
from bench.upstream import floor, quick

LIMITS = "{limits: {rate: null, concurrency: 1000, queue: 10000, queue_timeout: 60s}, retries: {attempts: 1}}"
NLS = """
server: {{listen: ["{{listen}}"], ops_listen: ["{{ops}}"], workers: {workers}}}
providers: {{aliyun: {{type: aliyun, appkey: bench, token: bench, gateway_url: "{vendor}", pool: {{size: 256, idle: 60s}}}}}}
policy: {limits}
log: {{level: warning}}
"""
OPENAI = """
server: {{listen: ["{{listen}}"], ops_listen: ["{{ops}}"], workers: {workers}}}
providers: {{vendor: {{type: openai, base_url: "{vendor}/v1", api_key: bench, model: whisper-1, connections: 256}}}}
policy: {limits}
log: {{level: warning}}
"""
BOUNDARY = "asrproxybench"


@dataclass(slots=True)
class Case:
    """A server under measurement. group: what it is compared with."""

    name: str
    group: str
    server: Running
    path: str
    body: bytes
    headers: Mapping[str, str]
    seen: list[Throughput] = field(default_factory=list)


def multipart(recording: bytes) -> tuple[bytes, dict[str, str]]:
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    )
    return head.encode() + recording + f"\r\n--{BOUNDARY}--\r\n".encode(), {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


@contextmanager
def cases(without: set[str]) -> Iterator[list[Case]]:
    fits, stereo = tone(16_000, 1), tone(44_100, 2)
    wav = {"Content-Type": "audio/wav"}
    with ExitStack() as stack:
        vendor = stack.enter_context(quick())
        cloud = stack.enter_context(emulator("--answers", TEXT, "--concurrency", "2000"))
        nginx, least = stack.enter_context(floor(vendor.url)), stack.enter_context(forwarder(vendor.url, uvloop=True, token="bench"))
        found = [
            Case("nginx, forwarding", "16 kHz WAV", nginx, "/v1/recognize", fits, wav),
            Case("aiohttp forwarder, uvloop", "16 kHz WAV", least, "/v1/recognize", fits, wav),
        ]
        ours = stack.enter_context(sidecar_of(NLS.format(vendor=vendor.url, limits=LIMITS, workers=1)))
        found.append(Case("asrproxy", "16 kHz WAV", ours, "/v1/recognize", fits, wav))
        two = stack.enter_context(sidecar_of(NLS.format(vendor=vendor.url, limits=LIMITS, workers=2)))
        found.append(Case("asrproxy, 2 workers", "16 kHz WAV", two, "/v1/recognize", fits, wav))
        found.append(Case("asrproxy", "44.1 kHz stereo WAV", ours, "/v1/recognize", stereo, wav))
        if "flask" not in without and (flask := _entered(stack, lambda: starting.flask(cloud.url))) is not None:
            beside = stack.enter_context(sidecar(cloud.url, policy=LIMITS))
            for name, body in (("16 kHz WAV, emulator", fits), ("44.1 kHz stereo WAV, emulator", stereo)):
                found.append(Case("Flask, gunicorn, SDK, pydub", name, flask, "/v1/recognize", body, wav))
                found.append(Case("asrproxy", name, beside, "/v1/recognize", body, wav))
        form, headers = multipart(fits)
        door = "/v1/audio/transcriptions"
        for workers, name in ((1, "asrproxy"), (2, "asrproxy, 2 workers")):
            openai = stack.enter_context(sidecar_of(OPENAI.format(vendor=vendor.url, limits=LIMITS, workers=workers)))
            found.append(Case(name, "OpenAI door", openai, door, form, headers))
        if "litellm" not in without and (peer := _entered(stack, lambda: starting.litellm(vendor.url))) is not None:
            found.append(Case("litellm proxy", "OpenAI door", peer, door, form, headers))
        if "portkey" not in without and (peer := _entered(stack, starting.portkey)) is not None:
            found.append(Case("Portkey gateway", "OpenAI door", peer, door, form, headers | starting.portkey_headers(vendor.url)))
        yield found


def _entered(stack: ExitStack, start: Callable[[], AbstractContextManager[Running]]) -> Running | None:
    try:
        return stack.enter_context(start())
    except starting.Missing as error:
        print(f"left out: {error}")
        return None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--without", nargs="*", default=[], choices=["flask", "litellm", "portkey"])
    arguments = parser.parse_args()
    with cases(set(arguments.without)) as found:
        for _ in range(arguments.rounds):
            for case in found:
                # A Flask worker is a second away from each answer: more callers would only wait.
                connections = min(arguments.connections, 16) if "Flask" in case.name else arguments.connections
                case.seen.append(
                    throughput(case.server, case.path, case.body, headers=case.headers, seconds=arguments.seconds, connections=connections)
                )
    rows = []
    for group in dict.fromkeys(case.group for case in found):
        members = [case for case in found if case.group == group]
        ours = next(case for case in members if case.name == "asrproxy")
        for case in members:
            speed = median(o.requests / t.requests for o, t in zip(ours.seen, case.seen, strict=True))
            cost = median(t.cpu / o.cpu for o, t in zip(ours.seen, case.seen, strict=True))
            requests, cpu, p50 = (median(getattr(each, name) for each in case.seen) for name in ("requests", "cpu", "p50"))
            rss = max(each.rss for each in case.seen)
            figures = [f"{requests:.0f}", f"{cpu * 1e3:.2f}", f"{rss / 1e6:.0f}", f"{p50 * 1e3:.1f}", f"{speed:.2f}", f"{cost:.2f}"]
            rows.append([group, case.name, *figures])
    head = ["5 s recording", "server", "requests/s", "CPU ms each", "RSS MB", "p50 ms", "asrproxy is faster x", "costs x of asrproxy"]
    table("Throughput, always asked", head, rows)


if __name__ == "__main__":
    main()
