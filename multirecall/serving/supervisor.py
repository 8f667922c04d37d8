"""The parent of several workers: it starts them, replaces those that end, and stops them all."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from time import monotonic

from multirecall.errors import MultirecallError
from multirecall.serving.crew import Crew, assemble_crew
from multirecall.serving.settings import ServeSettings
from multirecall.serving.worker import Load, work

KILL_S = 5.0
"""Seconds beyond `limits.shutdown_s` after which a worker that was told to stop is killed."""

LONGEST_PAUSE_S = 30.0
"""The longest pause before a worker that cannot start is started again; it begins with two seconds and doubles."""


@dataclass(eq=False, slots=True)
class Worker:
    """A process.

    Attributes:
        process: the process.
        said: where it says that it serves, or why it cannot.
        serves: whether it has said so.
        writes: whether it is the one that writes.
        fault: why it cannot serve.
    """

    process: BaseProcess
    said: Connection
    serves: bool = False
    writes: bool = False
    fault: str | None = None

    @property
    def name(self) -> str:
        """For the log."""
        return f"worker {self.process.pid}"

    def hear(self) -> None:
        """Read what it said; one that ends without a word is found out otherwise."""
        try:
            message = json.loads(self.said.recv_bytes())
        except (EOFError, OSError):
            message = {"writes": False, "fault": f"{self.name} ended before it served; its log says why"}
        self.writes, self.fault = message["writes"], message["fault"]
        self.serves = self.fault is None
        self.said.close()


class Supervisor:
    """Keeps as many workers as the settings say.

    Args:
        load: what each worker loads its engine with. It is sent to other processes, so it belongs to a module.
        settings: of the deployment.
        listening: where requests come.
        crew: what the workers share.
        say: prints a line.
    """

    def __init__(
        self, load: Load, settings: ServeSettings, listening: socket.socket, crew: Crew, say: Callable[[str], None]
    ) -> None:
        self._settings, self._say = settings, say
        self._work = load, settings, crew, listening
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[Worker] = []
        self._due: list[float] = []
        self._failures = 0

    def run(self, began: Callable[[Sequence[Worker]], None]) -> None:
        """Serve until this process is told to stop. `began` is called once all workers serve.

        The first worker starts alone: it compiles what no file has kept yet, and is the one that writes.

        Raises:
            MultirecallError: a worker cannot start.
        """
        with _told_to_stop() as told:
            try:
                for n in (1, self._settings.workers):
                    while len(self._workers) < n:
                        self._start()
                    while not all(worker.serves for worker in self._workers):
                        if told in self._happens([told], None):
                            return
                        if faults := [one.fault for one in self._workers if one.fault is not None]:
                            raise MultirecallError(faults[0])
                began(self._workers)
                while told not in self._happens([told], self._pause()):
                    self._replace()
            finally:
                self._stop()

    def _happens(self, also: Sequence[int], timeout: float | None) -> list[object]:
        """Wait until a worker speaks or ends, or something of `also` is ready; hear the workers."""
        speaking = {worker.said: worker for worker in self._workers if not worker.serves and worker.fault is None}
        ends = [worker.process.sentinel for worker in self._workers]
        ready = wait([*also, *speaking, *ends], timeout)
        for said, worker in speaking.items():
            if said in ready or worker.process.sentinel in ready:
                worker.hear()
                if worker.serves:
                    self._failures = 0
        return list(ready)

    def _replace(self) -> None:
        """Start a worker for each that has ended, at once or, where it could not start, after a pause."""
        for worker in [one for one in self._workers if not one.process.is_alive()]:
            self._workers.remove(worker)
            pause = 0.0
            if not worker.serves:
                self._failures += 1
                pause = min(2.0**self._failures, LONGEST_PAUSE_S)
            why = worker.fault or f"exit code {worker.process.exitcode}"
            after = f"in {pause:g} s" if pause else "now"
            self._say(f"{worker.name}{', which wrote,' if worker.writes else ''} ended ({why}); another starts {after}")
            self._due.append(monotonic() + pause)
        for due in [one for one in self._due if one <= monotonic()]:
            self._due.remove(due)
            self._start()

    def _pause(self) -> float | None:
        """Seconds until a worker is due; None: none is."""
        return max(0.0, min(self._due) - monotonic()) if self._due else None

    def _start(self) -> None:
        said, says = self._context.Pipe(duplex=False)
        process = self._context.Process(target=work, args=(*self._work, says), name="multirecall-worker")
        process.start()
        says.close()
        self._workers.append(Worker(process, said))

    def _stop(self) -> None:
        for worker in self._workers:
            worker.process.terminate()
        end = monotonic() + self._settings.limits.shutdown_s + KILL_S
        for worker in self._workers:
            worker.process.join(max(0.0, end - monotonic()))
            if worker.process.is_alive():
                self._say(f"{worker.name} did not stop in time and is killed")
                worker.process.kill()
                worker.process.join()


def supervise(
    load: Load,
    settings: ServeSettings,
    listening: socket.socket,
    began: Callable[[Sequence[Worker]], None],
    say: Callable[[str], None],
) -> None:
    """Serve a bundle with `settings.workers` processes until this one is told to stop; see `Supervisor`."""
    with assemble_crew() as crew, listening:
        Supervisor(load, settings, listening, crew, say).run(began)


@contextmanager
def _told_to_stop() -> Iterator[int]:
    """A descriptor that can be read once a signal tells this process to stop."""
    told, tells = os.pipe()
    os.set_blocking(tells, False)
    before = {one: signal.signal(one, lambda *_: os.write(tells, b".")) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(told)
        os.close(tells)
