"""Tasks of a fit that run at once: their results, their faults, and the cores that they have."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faulty import Rows
from patience import PATIENCE_S, eventually
from threadpoolctl import threadpool_info

from multirecall import Dataset, Engine, EngineConfig, PathConfig, cores
from multirecall.blocks import threads_of_blocks
from multirecall.cores import blas_threads, number_of_threads, usable_cores
from multirecall.datasets import generate
from multirecall.engine.together import Stopped, fit_threads, run_together
from multirecall.errors import CannotFit, ConfigError
from multirecall.progress import SILENT, Advance, Progress
from multirecall.testing import small_shop
from multirecall.validation import validate

Task = Callable[[Progress], Any]


def test_results_come_in_the_order_of_the_tasks() -> None:
    """The first task ends last."""
    last = threading.Event()

    def first(_: Progress) -> int:
        assert last.wait(PATIENCE_S)
        return 0

    def second(_: Progress) -> int:
        last.set()
        return 1

    assert run_together([first, second, lambda _: 2], 2, SILENT) == [0, 1, 2]


def test_so_many_run_at_once_and_no_more() -> None:
    running, most = [0], [0]
    both, lock = threading.Barrier(2), threading.Lock()

    def task(_: Progress) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        both.wait(PATIENCE_S)
        with lock:
            running[0] -= 1

    run_together([task] * 6, 2, SILENT)
    assert most == [2]


def test_one_thread_is_the_callers_own() -> None:
    assert run_together([lambda _: threading.get_ident()] * 2, 1, SILENT) == [threading.get_ident()] * 2


def test_tasks_have_the_callers_context_and_keep_their_own() -> None:
    told: ContextVar[str] = ContextVar("told")
    told.set("before")

    def task(_: Progress) -> str:
        found = told.get()
        told.set("changed")
        return found

    assert run_together([task] * 4, 2, SILENT) == ["before"] * 4


def test_a_fault_ends_the_others_at_their_next_report() -> None:
    """The second task fails while the first runs; the third never begins."""
    begun, ended = threading.Event(), threading.Event()
    third = threading.Event()

    def first(progress: Progress) -> None:
        with progress.task("long", 10**9) as advance:
            begun.set()
            try:
                while True:
                    advance(1)
            except Stopped:
                ended.set()
                raise

    def second(_: Progress) -> None:
        assert begun.wait(PATIENCE_S)
        raise CannotFit("no")

    with pytest.raises(CannotFit, match="no"):
        run_together([first, second, lambda _: third.set()], 2, SILENT)
    assert ended.wait(PATIENCE_S)
    assert not third.is_set()


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Ctrl-C raises, also in a process that was started with it ignored, as a background job of a shell is."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.mark.usefixtures("interrupts")
def test_an_interrupt_of_the_caller_ends_the_tasks() -> None:
    ended = [threading.Event(), threading.Event()]
    both = threading.Barrier(2)

    def task(own: threading.Event) -> Task:
        def run(progress: Progress) -> None:
            with progress.task("long", 10**9) as advance:
                if both.wait(PATIENCE_S) == 0:
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                try:
                    while True:
                        advance(1)
                finally:
                    own.set()

        return run

    with pytest.raises(KeyboardInterrupt):
        run_together([task(one) for one in ended], 2, SILENT)
    assert all(one.wait(PATIENCE_S) for one in ended)


def blas() -> set[int]:
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


def test_linear_algebra_has_the_least_number_asked_for_and_then_the_former() -> None:
    with blas_threads(2):
        assert blas() == {2}
        with blas_threads(1):
            assert blas() == {1}
            with blas_threads(2):
                assert blas() == {1}
        assert blas() == {2}


def test_blocks_have_the_threads_of_the_fit() -> None:
    assert threads_of_blocks(1) == 1
    with fit_threads(3) as n_threads:
        assert n_threads == 3
        assert run_together([lambda _: threads_of_blocks(1)] * 2, 2, SILENT) == [3, 3]
        assert threads_of_blocks(4) == 4
    assert threads_of_blocks(1) == 1


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "max 100000"}, 64),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
        ({"cpu.max": "nonsense"}, 64),
        ({}, 64),
    ],
)
def test_cores_of_a_container(
    files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    monkeypatch.setattr(cores, "CGROUP", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    assert usable_cores() == number_of_threads("auto") == expected


PATHS: dict[str, dict[str, dict[str, Any]]] = {
    "auto": {"item2vec": {"epochs": 1}, "item_cf": {}, "user_cf": {}, "popularity": {}},
    "rrf": {"item2vec": {"epochs": 2}, "ease": {"regularisation": 10.0}, "sequence": {"gap_decay": 0.5}},
}


@pytest.mark.parametrize("strategy", ["auto", "rrf"])
def test_a_bundle_is_the_same_to_the_bit_on_any_number_of_cores(
    strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = generate(400, 300, 3_000)
    data = Dataset.from_frames(log.interactions, log.items, log.users)
    paths = tuple(PathConfig(retriever=name, params=params) for name, params in PATHS[strategy].items())
    config = EngineConfig.model_validate({"paths": paths, "fusion": {"strategy": strategy}})
    saved = []
    for n_cores in (1, 3):
        monkeypatch.setattr(cores, "usable_cores", lambda n_cores=n_cores: n_cores)
        folder = tmp_path / str(n_cores)
        Engine(config).fit(data).save(folder)
        (version,) = (one for one in folder.iterdir() if one.is_dir())
        saved.append({str(one.relative_to(version)): one.read_bytes() for one in version.rglob("*.np*")})
    assert saved[0]
    assert saved[0] == saved[1]


class Waits(Rows):
    """Its fit goes on until it is stopped."""

    begun = threading.Event()
    ended = threading.Event()

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        with progress.task("waits", 1) as advance:
            self.begun.set()
            try:
                while True:
                    advance(0)
            finally:
                self.ended.set()


class Refuses(Rows):
    """Cannot be fitted."""

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        Waits.begun.wait(PATIENCE_S)
        raise CannotFit("it lacks what it needs")


def test_a_path_that_cannot_be_fitted_ends_the_fit_of_the_others() -> None:
    paths = ({"retriever": Waits}, {"retriever": Refuses})
    with pytest.raises(CannotFit, match=r"paths\[1\] 'Refuses': it lacks"):
        Engine(EngineConfig.model_validate({"paths": paths, "threads": 2})).fit(small_shop())
    eventually(Waits.ended.is_set)


def test_an_optional_path_leaves_the_others_alone() -> None:
    paths = ({"retriever": Refuses, "optional": True}, {"retriever": "popularity"})
    Waits.begun.set()
    engine = Engine(EngineConfig.model_validate({"paths": paths, "threads": 2})).fit(small_shop())
    assert [*engine.paths] == ["popularity"]


class Noted:
    """Keeps the notes of the task that names all paths."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @contextmanager
    def task(self, name: str, total: int, *, steady: bool = True) -> Iterator[Advance]:
        def advance(steps: int, note: str = "") -> None:
            if name == "fitting all paths":
                self.notes.append(note)

        yield advance


class Both(Rows):
    """Its fit waits for that of another path."""

    together = threading.Barrier(2)

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        super().fit(data, rng=rng, progress=progress)
        self.together.wait(PATIENCE_S)


def test_the_bar_names_all_paths_that_are_being_fitted() -> None:
    paths = ({"retriever": Both, "name": "one"}, {"retriever": Both, "name": "two"})
    noted = Noted()
    Engine(EngineConfig.model_validate({"paths": paths, "threads": 2, "fusion": {"strategy": "rrf"}})).fit(
        small_shop(), progress=noted
    )
    assert {"now one, two", "now two, one"} & {*noted.notes}
    assert noted.notes[-1] == "", "none is left"


@pytest.mark.parametrize("threads", [0, -1, "all", 1.5])
def test_threads_are_a_number_or_auto(threads: Any) -> None:
    with pytest.raises(ConfigError, match="threads"):
        validate(EngineConfig, {"threads": threads}, "engine.toml")


def test_retrievers_that_promise_it_get_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "usable_cores", lambda: 5)
    paths = tuple(PathConfig(retriever=name) for name in ("item_cf", "item2vec"))
    settings = [part.settings for _, _, part in Engine(EngineConfig(paths=paths))._blueprint.paths]
    assert [one.threads for one in settings] == [5, 1]  # type: ignore[attr-defined]
    settings = [part.settings for _, _, part in Engine(EngineConfig(paths=paths, threads=4))._blueprint.paths]
    assert [one.threads for one in settings] == [4, 4]  # type: ignore[attr-defined]
