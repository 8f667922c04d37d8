"""A batch of candidates, and what kills its workers and its driver at random moments."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Self

import polars as pl
import pytest
from faulty import Rows
from patience import eventually
from ray_clusters import add_node, processes_of

from multirecall import Engine, EngineConfig
from multirecall.lists import RankedList
from multirecall.progress import SILENT, Advance
from multirecall.query import Query
from multirecall.scaleout import Written, batch, write_candidates
from multirecall.scaleout.workers import LocalWorkers
from multirecall.scaleout.writer import CandidateWriter
from multirecall.testing import small_shop

PATHS = ("popularity", "item_cf", "user_cf", "content", "als")
K, CHUNK = 12, 4
USERS = [*range(41, -1, -1), *range(500, 580)]
"""All of the shop, backwards, and many whom it does not know: 31 parts."""

N_PARTS = 31

TASK_S = 0.02
"""About the time from the moment a worker is given a part until it has written it."""


def make_bundle(folder: Path, *paths: Any) -> Path:
    """Save an engine of the small shop into a bundle."""
    config = EngineConfig.model_validate({"paths": [{"retriever": path} for path in paths or PATHS], "seed": 5})
    with Engine(config).fit(small_shop()) as engine:
        engine.save(folder)
    return folder


def frame_of_one(bundle: Path, file: Path) -> pl.DataFrame:
    """What one engine writes for `USERS`."""
    with Engine.load(bundle) as engine:
        engine.write_candidates(USERS, file, K, chunk=CHUNK)
    return pl.read_parquet(file)


def fill(bundle: Path, folder: Path, **options: Any) -> Written:
    """The candidates of `USERS`, by two workers if nothing else is said."""
    given = {"k": K, "chunk": CHUNK, "workers": 2, "progress": SILENT, **options}
    return write_candidates(bundle, given.pop("users", USERS), folder, **given)


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of each part."""
    return {file.name: file.read_bytes() for file in sorted(folder.glob("part-*.parquet"))}


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """What changes when a part is written again."""
    found = {file.name: file.stat() for file in folder.glob("part-*.parquet")}
    return {name: (one.st_ino, one.st_mtime_ns) for name, one in found.items()}


class InlineWorkers:
    """Workers within this process, which end in a random order."""

    def __init__(self, n: int | None, job: bytes) -> None:
        self._random = random.Random(n)
        self._writers = [CandidateWriter(job) for _ in range(n or 1)]
        self._given = deque((number, b"") for number in range(len(self._writers)))

    def give(self, worker: int, task: bytes) -> None:
        self._given.append((worker, task))

    def reports(self) -> Iterator[tuple[int, bytes]]:
        self._given.rotate(self._random.randrange(5))
        worker, task = self._given.popleft()
        yield worker, self._writers[worker].answer(task)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        """Nothing is left to end."""


class KilledWorkers(LocalWorkers):
    """Processes that are killed at random moments of random tasks, each task once at most.

    Attributes:
        seed: of all that is random.
        share: of the tasks whose workers are killed.
        kills: how many were killed.
    """

    seed: ClassVar[int] = 0
    share: ClassVar[float] = 0.4
    kills: ClassVar[int] = 0

    def __init__(self, n: int, job: bytes) -> None:
        self._random, self._timers = random.Random(self.seed), list[threading.Timer]()
        super().__init__(n, job)

    def give(self, worker: int, task: bytes) -> None:
        super().give(worker, task)
        if self._random.random() < self.share:
            process = self._workers[worker].process
            timer = threading.Timer(self._random.uniform(0, TASK_S), self._kill, [process])
            self._timers.append(timer)
            timer.start()

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.kill()
            KilledWorkers.kills += 1

    def __exit__(self, *fault: object) -> None:
        for timer in self._timers:
            timer.cancel()
            timer.join()
        super().__exit__(*fault)


def fill_with_killed_workers(bundle: Path, folder: Path, seed: int) -> int:
    """Fill a folder while workers are killed; return how many were."""
    KilledWorkers.seed, KilledWorkers.kills = seed, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "LocalWorkers", KilledWorkers)
        fill(bundle, folder)
    return KilledWorkers.kills


class Accidents:
    """A progress that lets something happen at random moments after some of the parts.

    Args:
        happens: what, in order; each once.
        seed: of the moments.
    """

    def __init__(self, happens: Sequence[Callable[[], None]], seed: int) -> None:
        self._random = random.Random(seed)
        reports = sorted(self._random.sample(range(1, N_PARTS - 3), len(happens)))
        self._happens = dict(zip(reports, happens, strict=True))
        self._seen = 0

    @contextmanager
    def task(self, name: str, total: int, *, steady: bool = True) -> Iterator[Advance]:
        """See `Progress.task`."""
        yield self._advance

    def _advance(self, steps: int, note: str = "") -> None:
        self._seen += 1
        if accident := self._happens.get(self._seen):
            threading.Event().wait(self._random.uniform(0, TASK_S))
            accident()


def fill_with_killed_actors(
    bundle: Path, folder: Path, cluster: Any, actors: int, nodes: int, seed: int
) -> tuple[int, int]:
    """Fill a folder by Ray while processes of actors and nodes are killed; return how many of both were."""
    chance, killed = random.Random(seed), [0, 0]

    def kill_actor() -> None:
        eventually(lambda: processes_of(cluster, "CandidateWriter"))
        os.kill(chance.choice(processes_of(cluster, "CandidateWriter")), signal.SIGKILL)
        killed[0] += 1

    def kill_node() -> None:
        cluster.remove_node(chance.choice(sorted(cluster.worker_nodes, key=str)), allow_graceful=False)
        add_node(cluster, 1)
        killed[1] += 1

    happens = chance.sample([kill_actor] * actors + [kill_node] * nodes, actors + nodes)
    fill(bundle, folder, ray=cluster.address, progress=Accidents(happens, seed))
    return killed[0], killed[1]


def command(bundle: Path, users: Path, folder: Path, *more: str) -> list[str]:
    """The command that does what `fill` does."""
    options = ["-k", str(K), "--chunk", str(CHUNK), "--workers", "2", *more]
    return [
        *(sys.executable, "-m", "multirecall", "candidates", str(bundle)),
        *("--users", str(users), "--out", str(folder)),
        *options,
    ]


def fill_with_killed_drivers(bundle: Path, users: Path, folder: Path, kills: int, seed: int, *more: str) -> int:
    """Run the command and kill it again and again, each time once some parts are there; then let it end.

    Returns:
        How many commands were killed.

    Raises:
        AssertionError: a part that was there was written again.
    """
    chance, killed = random.Random(seed), 0
    for goal in sorted(chance.sample(range(N_PARTS), kills)):
        before = stamps(folder)
        with subprocess.Popen(command(bundle, users, folder, *more), stderr=subprocess.DEVNULL) as driver:
            eventually(lambda goal=goal, driver=driver: len(stamps(folder)) >= goal or driver.poll() is not None)  # type: ignore[misc]
            threading.Event().wait(chance.uniform(0, TASK_S))
            workers = children_of(driver.pid)
            if driver.poll() is None:
                driver.kill()
                killed += 1
        eventually(lambda workers=workers: not any(map(is_running, workers)))  # type: ignore[misc]
        assert before.items() <= stamps(folder).items()
    before = stamps(folder)
    subprocess.run(command(bundle, users, folder, *more), check=True, stdout=subprocess.DEVNULL, timeout=120)
    assert before.items() <= stamps(folder).items()
    return killed


def children_of(pid: int) -> set[int]:
    """The processes that a process has started and not waited for; none of one that has ended."""
    found: set[int] = set()
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found |= {int(child) for child in (thread / "children").read_text().split()}
    return found


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Deadly(Rows):
    """Ends the process that asks for one user."""

    def retrieve(self, query: Query, quota: int) -> RankedList:
        if query.user == 7:
            os._exit(3)
        return super().retrieve(query, quota)
