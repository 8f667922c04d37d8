"""The driver of a batch: it cuts the users into chunks, gives each to a worker, and counts the parts."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import polars as pl

from multirecall.engine import Engine
from multirecall.engine.bundle.bundle import headline
from multirecall.engine.request import read_size
from multirecall.errors import BundleError, MultirecallError, RequestError
from multirecall.progress import Progress, terminal_progress
from multirecall.scaleout.cluster import joined_cluster
from multirecall.scaleout.import_names import import_name
from multirecall.scaleout.job import Job, Report, Request, State, Task
from multirecall.scaleout.parts import Parts, digest_of, noted_state
from multirecall.scaleout.users import read_users
from multirecall.scaleout.workers import LocalWorkers, RayWorkers, Workers
from multirecall.storage import read_manifest
from multirecall.vocabulary import Id

_log = logging.getLogger("multirecall.scaleout")


class Written(NamedTuple):
    """What a batch has written.

    Attributes:
        users: the number of users in the folder.
        rows: the number of their candidates.
        parts: the number of files.
        new: the number of users that this call has written; less than `users` where it went on.
        seconds: the time that this call took to write them, with the start of the workers.
    """

    users: int
    rows: int
    parts: int
    new: int
    seconds: float


def write_candidates(
    bundle: str | Path,
    users: Any,
    folder: str | Path,
    *,
    k: int | None = None,
    ray: str | None = None,
    workers: int | None = None,
    chunk: int = 1000,
    exclude: Iterable[Id] | None = None,
    where: Mapping[str, Any] | None = None,
    seen: bool = False,
    context: Mapping[str, Any] | None = None,
    plugins: Iterable[type] = (),
    progress: Progress | None = None,
) -> Written:
    """Write the candidates of many users into a folder of parquet files, by several processes or machines.

    The files `part-00000.parquet`, `part-00001.parquet`, … hold `chunk` users each, in the order of the users; columns
    as in `CandidateBatch.to_polars`. Their bytes do not depend on the number of workers, nor on who was killed when.
    The same call goes on where one has stopped. All users see the state of the bundle at the first call.

    Args:
        bundle: a folder that `Engine.save` wrote, at a path that all workers see.
        users: a parquet or CSV file (a path or glob pattern) or a frame, with a column `user_id`, or a list of ids.
            An unknown user gets what visitors get; no user may occur twice.
        folder: made if needed, on a file system that all workers see.
        k: candidates of a user; default: the config's.
        ray: the address of a Ray cluster, as `ray.init` takes it, such as "auto"; None: processes of this machine.
        workers: how many; default: one for each CPU.
        chunk: users of a part. A worker holds the candidates of one part.
        exclude: as `Engine.retrieve`, and so are `where`, `seen` and `context`, of values that JSON has.
        plugins: classes that the bundle may use, as for `Engine.load`, which workers import by module and name.
        progress: where the number of users is shown; default: a bar on a terminal.

    Raises:
        RequestError: an unusable argument, or the folder holds something else, or parts of another run.
        DataError: the users cannot be read, or one occurs twice.
        BundleError: as `Engine.load`.
        MissingExtra: `ray` is given and not installed.
        MultirecallError: workers keep ending, or one cannot load its engine or answer, for instance since the bundle
            no longer has the state of the first call. The folder keeps the parts that are there.
    """
    _require_count(chunk, "chunk")
    if workers is not None:
        _require_count(workers, "workers")
    place, target, classes = Path(bundle).resolve(), Path(folder).resolve(), tuple(plugins)
    with Engine.load(place, plugins=classes) as engine:
        names = tuple(import_name(one) for one in classes)
        request = Request.of(read_size(k, engine.config.k), exclude, where, seen, context)
        ids = read_users(users, engine.data)
        engine.retrieve_batch(ids[:1].to_list(), request.k, **request.filters)  # refuses now what workers would
        state = _begun_state(_state_of(engine, place), target)
    run = {
        "state": state.model_dump(),
        "users": {"n": ids.len(), "sha256": digest_of(ids)},
        "request": request.model_dump(mode="json"),
        "chunk": chunk,
    }
    job = Job(bundle=str(place), folder=str(target), state=state, request=request, plugins=names)
    parts = Parts(target, run, math.ceil(ids.len() / chunk))
    with parts.claim(), nullcontext(progress) if progress else terminal_progress() as bars:
        return _fill(parts, ids, chunk, partial(_start_workers, job, ray, workers), bars)


def _fill(
    parts: Parts,
    ids: pl.Series,
    chunk: int,
    start_workers: Callable[[int], AbstractContextManager[Workers]],
    progress: Progress,
) -> Written:
    """Let workers write the parts that are missing, then note that all are there."""
    start, present = perf_counter(), parts.present()
    missing = {name: slice(n * chunk, (n + 1) * chunk) for n, name in enumerate(parts.names) if name not in present}
    sizes = {name: len(range(ids.len())[part]) for name, part in missing.items()}
    tasks = (Task(part=name, users=tuple(ids[part].to_list())) for name, part in missing.items())
    rows: dict[str, int] = {}
    left, new, lame = len(missing), 0, set[str]()
    reports = _reports(start_workers, tasks, left)
    with progress.task("candidates of users", ids.len()) as advance, closing(reports):
        advance(ids.len() - sum(sizes.values()))
        try:
            for report in reports:
                new += sizes[report.part]
                advance(sizes[report.part], f"{new / (perf_counter() - start):,.0f} users/s")
                left -= 1
                if report.rows is not None:
                    rows[report.part] = report.rows
                for path in report.paths.keys() - lame:
                    _log.warning("%s: path %r: %s", parts.folder / report.part, path, report.paths[path])
                    lame.add(path)
        except BaseException:
            _log.warning(
                "%s: stopped with %d of %d parts; the same call goes on from there",
                parts.folder,
                len(parts.names) - left,
                len(parts.names),
            )
            raise
    return Written(ids.len(), parts.finish(rows), len(parts.names), new, perf_counter() - start)


@contextmanager
def _start_workers(job: Job, address: str | None, asked: int | None, most: int) -> Iterator[Workers]:
    """As many workers as are asked for, but no more than there are tasks; they end with the block."""
    told = job.model_dump_json().encode()
    if address is None:
        with LocalWorkers(min(asked or len(os.sched_getaffinity(0)), most), told) as here:
            yield here
    else:
        with joined_cluster(address, "write_candidates with ray") as ray, RayWorkers(ray, asked, most, told) as actors:
            yield actors


def _reports(
    start_workers: Callable[[int], AbstractContextManager[Workers]], tasks: Iterator[Task], n_tasks: int
) -> Generator[Report, None, None]:
    """Give each task to a worker that is free, and yield what is reported of it, until all are done.

    Raises:
        MultirecallError: a worker cannot do what it was told, or workers keep ending.
    """
    if not n_tasks:
        return
    with start_workers(n_tasks) as workers:
        while n_tasks:
            for worker, answer in workers.reports():
                report = Report.model_validate_json(answer)
                if report.fault is not None:
                    raise MultirecallError(report.fault)
                task = next(tasks, None)
                if task is not None:
                    workers.give(worker, task.model_dump_json().encode())
                if report.part:
                    n_tasks -= 1
                    yield report


def _state_of(engine: Engine, bundle: Path) -> State:
    """The state that an engine has loaded from its bundle; raises `BundleError` if a writer has removed it since."""
    store = engine.health().store
    if store is None:
        raise BundleError(f"{bundle}: is no bundle any more; save the engine again")
    version = headline(bundle, store.version, current=True)
    manifest = read_manifest(bundle / store.version)["sha256"]
    return State(bundle=version.bundle, version=version.name, manifest=manifest, last_change=engine.last_change)


def _begun_state(state: State, folder: Path) -> State:
    """The state with which a run in `folder` was begun, if only live changes have come to the bundle since."""
    noted = noted_state(folder)
    if noted is None or {**state.model_dump(), "last_change": noted.get("last_change")} != noted:
        return state
    begun = State.model_validate(noted)
    if begun != state:
        _log.warning(
            "%s: goes on as begun, without the %d live changes since", folder, state.last_change - begun.last_change
        )
    return begun


def _require_count(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RequestError(f"{name} must be a whole number > 0, got {value!r}")
