"""The workers of a batch: processes of this machine, or actors of Ray. The driver sees no difference."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol, Self

from multirecall.errors import MultirecallError
from multirecall.scaleout.writer import CandidateWriter

ATTEMPTS = 4
"""How often a task is given to a worker that ends over it, before the batch gives up: it is then the task's fault."""

RAY_RETRIES = 20
"""The same for Ray, which also counts each time that it cannot reach an actor that is being restarted."""

PROGRAM = "from multirecall.scaleout.writer import main; main()"


class Workers(Protocol):
    """Workers that each do one task at a time. One that is killed is replaced, and its task is done all the same.

    At first each loads its engine, and reports that like the end of a task. The block ends the workers.
    """

    def give(self, worker: int, task: bytes) -> None:
        """Let a worker that has reported do a task."""

    def reports(self) -> Iterator[tuple[int, bytes]]:
        """Wait for reports, and yield them with the numbers of the workers, which are then free.

        Raises:
            MultirecallError: workers keep ending over one task.
        """

    def __enter__(self) -> Self: ...

    def __exit__(self, *fault: object) -> None: ...


@dataclass(slots=True)
class _Process:
    """A process, the socket to it, what it does, and how many have ended over that."""

    process: subprocess.Popen[bytes]
    connection: Connection
    task: bytes
    ended: int = 0


class LocalWorkers:
    """Processes of this machine.

    Each is a fresh interpreter, so nothing is forked and a caller's script is not run again. It hears of Ctrl-C and of
    the caller's death by the end of its socket alone.

    Args:
        n: how many.
        job: a `Job`, as bytes.
    """

    def __init__(self, n: int, job: bytes) -> None:
        self._job = job
        self._workers = [self._start(b"") for _ in range(n)]

    def give(self, worker: int, task: bytes) -> None:
        """See `Workers`."""
        one = self._workers[worker]
        one.task, one.ended = task, 0
        _send(one.connection, task)

    def reports(self) -> Iterator[tuple[int, bytes]]:
        """See `Workers`."""
        ready = wait([one.connection for one in self._workers])
        for number, one in enumerate(self._workers):
            if one.connection in ready:
                try:
                    report = one.connection.recv_bytes()
                except (EOFError, OSError):
                    self._replace(number)
                else:
                    one.task = b""
                    yield number, report

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        for one in self._workers:
            _end(one)

    def _replace(self, number: int) -> None:
        lost = self._workers[number]
        code = _end(lost)
        if lost.ended + 1 == ATTEMPTS:
            raise MultirecallError(
                f"a worker ended {ATTEMPTS} times over one task, at last with exit code {code}; fewer workers or "
                "smaller chunks need less memory, and its standard error may say more"
            )
        self._workers[number] = self._start(lost.task, lost.ended + 1)

    def _start(self, task: bytes, ended: int = 0) -> _Process:
        here, there = multiprocessing.Pipe()
        with there:
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(there.fileno())],
                pass_fds=[there.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )
        _send(here, self._job)
        _send(here, task)
        return _Process(process, here, task, ended)


def _send(connection: Connection, message: bytes) -> None:
    with suppress(OSError):  # of one that has been killed; its end is seen when it is waited for
        connection.send_bytes(message)


def _end(worker: _Process) -> int:
    """Kill a worker, which has nothing to tidy up, and return its exit code."""
    worker.connection.close()
    worker.process.kill()
    return worker.process.wait()


class RayWorkers:
    """Actors of Ray, of one CPU each. Ray restarts those that end, on another node where theirs is gone.

    Args:
        ray: the module `ray`, joined to a cluster.
        n: how many; None: as many as the cluster has CPUs.
        most: the most that are of use.
        job: a `Job`, as bytes.
    """

    def __init__(self, ray: Any, n: int | None, most: int, job: bytes) -> None:
        self._ray = ray
        writer = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=RAY_RETRIES)(CandidateWriter)
        n = min(n or max(1, int(ray.cluster_resources().get("CPU", 1))), most)
        self._actors = [writer.remote(job) for _ in range(n)]
        self._calls: dict[Any, int] = {}
        for number in range(n):
            self.give(number, b"")

    def give(self, worker: int, task: bytes) -> None:
        """See `Workers`."""
        self._calls[self._actors[worker].answer.remote(task)] = worker

    def reports(self) -> Iterator[tuple[int, bytes]]:
        """See `Workers`."""
        done, _ = self._ray.wait(list(self._calls))
        for call in done:
            try:
                report: bytes = self._ray.get(call)
            except self._ray.exceptions.RayError as fault:
                raise MultirecallError(
                    f"actors keep ending over one task, as Ray says: {fault}; "
                    "fewer workers or smaller chunks need less memory"
                ) from None
            yield self._calls.pop(call), report

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        for actor in self._actors:
            self._ray.kill(actor)
