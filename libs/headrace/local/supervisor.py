"""The process behind `headrace up`: starts the parts, keeps them alive, and takes all of them with it when it ends.

Run as `python -m headrace.local.supervisor HOME [--only NAME,...] [--no-services]`.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from headrace.local.keeper import Keeper
from headrace.local.processes import created_at, kill_recorded
from headrace.local.services import LocalService
from headrace.local.stack import Plan, place_parts, plan
from headrace.local.state import HOME, ProcessState, StackState, read_state, supervision, write_state
from headrace.local.topics import create_topics

logger = logging.getLogger("headrace.local")


class Supervisor:
    """Keeps the parts of a plan; its state is in the state folder at all times."""

    def __init__(self, home: Path, planned: Plan, earlier: StackState) -> None:
        self.home = home
        self.state = StackState("starting", os.getpid(), created_at(os.getpid()))
        places = place_parts(planned.parts, home, earlier)
        self.keepers = {part.name: Keeper(part, places[part.name], self.write) for part in planned.parts}
        # Ports of parts that are not started this time are remembered for the next.
        kept = {name: ProcessState("stopped", ports=old.ports) for name, old in earlier.processes.items()}
        external = {name: ProcessState("external", address) for name, address in planned.external.items()}
        self.state.processes = kept | external | {name: keeper.state for name, keeper in self.keepers.items()}
        # The user's own settings too: who asks for a topic or a bucket later must mean the same one.
        self.state.environment = {name: value for name, value in os.environ.items() if name.startswith("HEADRACE_")}
        self.state.environment[HOME] = str(home)
        self._topics_lock = asyncio.Lock()
        self._topics_made = False
        self._is_written = True

    def write(self) -> None:
        """Puts the state where everyone sees it; what cannot be written, as the disk is full, is written at the next change."""
        try:
            self._write()
        except OSError as error:
            if self._is_written:
                logger.error("cannot write the state of %s, the parts are kept all the same: %s", self.home, error)  # noqa: TRY400  # a full disk needs no trace
            self._is_written = False
        else:
            self._is_written = True

    def _write(self) -> None:
        for keeper in self.keepers.values():
            self.state.environment |= keeper.tells
        write_state(self.home, self.state)

    async def run(self, stop: asyncio.Event) -> None:
        """Keeps the parts until told to stop, then stops them: services first, then servers.

        Raises:
            OSError: the state cannot be written, so that nobody would find the parts; none is started.
        """
        self._write()
        tasks = [self._start(keeper) for keeper in self.keepers.values()]
        phase = asyncio.create_task(self._follow_phase())
        try:
            await stop.wait()
        finally:
            phase.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(phase, *tasks, return_exceptions=True)
            await self._stop()

    def _start(self, keeper: Keeper) -> asyncio.Task[None]:
        def ended(task: asyncio.Task[None]) -> None:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                keeper.fail(error)

        task = asyncio.create_task(self._keep(keeper))
        task.add_done_callback(ended)
        return task

    async def _keep(self, keeper: Keeper) -> None:
        for need in keeper.part.needs:
            if need in self.keepers:
                await self.keepers[need].serves.wait()
        if isinstance(keeper.part, LocalService):
            await self._topics_exist()
        keeper.place = replace(keeper.place, environment=dict(self.state.environment))
        await keeper.keep()

    async def _topics_exist(self) -> None:
        async with self._topics_lock:
            if not self._topics_made:
                ensured = await asyncio.to_thread(create_topics, dict(self.state.environment))
                logger.info("created %d topics, changed %d", len(ensured.created), len(ensured.changed))
                self._topics_made = True

    async def _follow_phase(self) -> None:
        failures = [asyncio.create_task(keeper.failed.wait()) for keeper in self.keepers.values()]
        everyone = asyncio.gather(*(keeper.serves.wait() for keeper in self.keepers.values()))
        first: set[asyncio.Future[Any]] = {everyone, *failures}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        self.state.phase = "up" if everyone.done() else "failed"
        self.write()

    async def _stop(self) -> None:
        self.state.phase = "stopping"
        self.write()
        depended_on = {need for keeper in self.keepers.values() for need in keeper.part.needs}
        for last in (False, True):
            await asyncio.gather(*(each.stop() for name, each in self.keepers.items() if (name in depended_on) is last))
        self.state.phase, self.state.pid = "down", 0
        self.write()


async def supervise(home: Path, planned: Plan) -> None:
    """Runs the plan until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    earlier = read_state(home)
    for name in kill_recorded(earlier):
        logger.warning("killed %s, left over from a supervisor that died", name)
    await Supervisor(home, planned, earlier).run(stop)


def main() -> None:
    """Entry point of the supervisor's process."""
    parser = argparse.ArgumentParser(prog="headrace.local.supervisor")
    parser.add_argument("home", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--no-services", action="store_true")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING, stream=sys.stderr)
    logger.setLevel(logging.INFO)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the terminal that started it may close
    home = arguments.home.absolute()
    os.environ[HOME] = str(home)  # every part inherits it: whoever clears up after us knows them by it
    only = tuple(name for name in arguments.only.split(",") if name)
    with supervision(home):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(supervise(home, plan(os.environ, only=only, services=not arguments.no_services)))
        logging.shutdown()
        os._exit(0)  # a thread that still downloads or converts something would keep us waiting; its child ends with us


if __name__ == "__main__":
    main()
