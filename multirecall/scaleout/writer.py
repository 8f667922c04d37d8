"""What a worker of a batch does: it maps one engine from the bundle, takes users, and writes a part of candidates."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path

from multirecall.engine import Engine
from multirecall.errors import MultirecallError
from multirecall.plugins import import_class
from multirecall.result import CandidateBatch
from multirecall.scaleout.job import Job, Report, Task
from multirecall.scaleout.parts import unwritable, write_part


class CandidateWriter:
    """A worker, in whatever process. It is told, and says, bytes of JSON.

    Args:
        job: a `Job`.
    """

    def __init__(self, job: bytes) -> None:
        self._job = Job.model_validate_json(job)

    def answer(self, task: bytes) -> bytes:
        """Write the part of a `Task` unless it is there; without one (b""), load the engine; return a `Report`."""
        try:
            engine = self._engine
            report = self._write(engine, Task.model_validate_json(task)) if task else Report()
        except MultirecallError as fault:
            report = Report(fault=str(fault))
        return report.model_dump_json().encode()

    @cached_property
    def _engine(self) -> Engine:
        state, classes = self._job.state, [import_class(name) for name in self._job.plugins]
        return Engine.load(self._job.bundle, version=state.version, last_change=state.last_change, plugins=classes)

    def _write(self, engine: Engine, task: Task) -> Report:
        file = Path(self._job.folder) / task.part
        if file.exists():  # its worker was killed before it could say so
            return Report(part=task.part)
        request = self._job.request
        batch = engine.retrieve_batch(task.users, request.k, **request.filters)
        try:
            rows = write_part(batch.to_polars(), file)
        except OSError as fault:
            raise unwritable(file, fault) from None
        return Report(part=task.part, rows=rows, paths=_trouble(batch))


def main() -> None:
    """Answer what comes through the socket whose descriptor is the first argument; the job comes first.

    The process ends when the other end is closed, also by the death of the process that held it.
    """
    logging.getLogger("multirecall").setLevel(logging.ERROR)  # the caller has loaded the same bundle, and logged
    with Connection(int(sys.argv[1])) as connection, suppress(EOFError, OSError):
        worker = CandidateWriter(connection.recv_bytes())
        while True:
            connection.send_bytes(worker.answer(connection.recv_bytes()))


def _trouble(batch: CandidateBatch) -> dict[str, str]:
    """The paths that did not answer for all users, and why."""
    return {
        name: one.detail or one.state
        for name, one in batch.status.items()
        if one.state != "dropped" and (one.state != "ok" or one.detail)
    }
