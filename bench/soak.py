"""A sidecar under mixed load for a while, with faults, reloads and expiring tokens: does it stay flat, and do all the books agree?

    python -m bench.soak [--minutes 20] [--share 0.7] [--faults 0.05]

The capacity of this machine is measured first (closed loop, the same mixture of audio, a sidecar of its own), then that share of it is
offered evenly spaced, whatever the answers do. Meanwhile the NLS emulator spoils that share of the calls that reach it, every token expires
each minute, and the configuration is changed every ten seconds, every other time into one that has to be refused.

Exit status 1: the books differ, or somebody got no answer. Flatness is printed for a reader to judge: a slope has noise in it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop
from aiohttp import ClientSession, TCPConnector

from asrproxy_aliyun.emulator.client import EmulatorClient
from bench.running import Running, emulator, table
from bench.soak_books import Books, logged, scraped
from bench.soak_callers import Callers
from bench.soak_flatness import Flatness
from bench.soak_weather import Soaked, Weather, soaked

CLOSED = 48
"""Callers of the closed loop that finds the capacity."""
SPEAKERS = 4
"""Live sessions at a time, one after the other: half of them over the vendor's own streaming."""
WARM = 30.0
"""Seconds of load before the first look at rest: pools and the like, which the first load fills for good, are no leak."""
LATENCY = ("--latency", "0.1s", "--latency-jitter", "0.1s", "--concurrency", "none")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--share", type=float, default=0.7, help="of the capacity that is offered")
    parser.add_argument("--faults", type=float, default=0.05, help="share of the calls at the vendor that are spoilt")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    return uvloop.run(_soak(arguments.minutes * 60, arguments.share, arguments.faults, random.Random(arguments.seed)))


async def _soak(seconds: float, share: float, faults: float, chance: random.Random) -> int:
    with TemporaryDirectory(prefix="asrproxy-soak-") as folder:
        capacity = await _capacity(Path(folder), chance)
        rate = share * capacity
        print(f"capacity {capacity:.0f} requests/s with {CLOSED} callers; offering {rate:.0f}/s for {seconds / 60:g} min", flush=True)
        with ExitStack() as stack:
            cloud = stack.enter_context(emulator(*LATENCY))
            ours, place = stack.enter_context(soaked(Path(folder), cloud.url))
            return await _watched(cloud, ours, place, rate=rate, seconds=seconds, faults=faults, chance=chance)


async def _capacity(folder: Path, chance: random.Random) -> float:
    """Requests a second that are answered when somebody always asks."""
    with emulator(*LATENCY) as cloud, soaked(folder, cloud.url) as (ours, _):
        async with ClientSession(connector=TCPConnector(limit=0)) as session:
            callers = Callers(ours.url, session, chance)
            await callers.closed_loop(CLOSED, seconds=4.0)
            return await callers.closed_loop(CLOSED, seconds=12.0)


async def _watched(
    cloud: Running, ours: Running, place: Soaked, *, rate: float, seconds: float, faults: float, chance: random.Random
) -> int:
    async with ClientSession(connector=TCPConnector(limit=0)) as session, EmulatorClient(cloud.url) as control:
        callers, weather = Callers(ours.url, session, chance), Weather(ours, place, control, share=faults, chance=chance)
        flatness = Flatness(ours, place.log, session)
        await callers.everything_once()
        await callers.open_loop(rate, WARM)
        await _quiet(ours, session, control)
        flatness.at_rest()
        tasks_before = await flatness.tasks()
        async with asyncio.TaskGroup() as group:
            around = [group.create_task(each) for each in (weather.faults(), weather.tokens(), weather.reloads(), flatness.watch())]
            speakers = [group.create_task(callers.speak(number, seconds)) for number in range(SPEAKERS)]
            await callers.open_loop(rate, seconds)
            await asyncio.wait(speakers)
            for each in around:
                each.cancel()
        await control.clear_script()
        await _quiet(ours, session, control)
        flatness.at_rest()
        print(f"\nasyncio tasks at rest: {tasks_before} before, {await flatness.tasks()} after", flush=True)
        figures = await scraped(session, ours.url)
        books = Books(callers.statuses, logged(place.log), figures, await control.status())
    table("Of the last two thirds: change a minute, with the standard error of the slope; load is what is under way", *flatness.rows())
    table(
        "At rest, after half a minute of load and at the end; see CONTRIBUTING.md for what each difference means",
        *flatness.rests(),
    )
    table("What was done to it", ["faults scripted", "tokens expired", "reloads asked for", "taken", "refused"], [weather.row(figures)])
    table("Requests by status, told by", *books.requests())
    table("Calls at the vendor", *books.calls())
    differences = [*books.differences(), *callers.unanswered]
    for difference in differences:
        print(f"DIFFERENCE: {difference}")
    print("the books agree: every request once" if not differences else f"{len(differences)} differences")
    return 1 if differences else 0


async def _quiet(ours: Running, session: ClientSession, control: EmulatorClient) -> None:
    """Until nothing is under way anywhere, kept connections had time to be given up, and freed memory to go back to the system."""
    async with asyncio.timeout(180):
        while True:
            async with session.get(f"{ours.url}/v1/status") as answer:
                under_way = (await answer.json())["in_flight"]
            if not under_way and not (await control.status())["in_flight"]:
                break
            await asyncio.sleep(0.5)
    await asyncio.sleep(15)


if __name__ == "__main__":
    sys.exit(main())
