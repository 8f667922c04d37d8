"""The fits of all paths of a config: in which order, on which threads, with which random numbers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np

from multirecall.config import FALLBACK, EngineConfig
from multirecall.data import Dataset
from multirecall.engine.state import Blueprint, EngineState, Part, assemble
from multirecall.engine.together import fit_threads, run_together
from multirecall.errors import CannotFit, MissingExtra
from multirecall.freed_memory import return_freed_memory
from multirecall.progress import Advance, Progress
from multirecall.protocols import Retriever
from multirecall.validation import AUTO

_log = logging.getLogger("multirecall.engine")


@dataclass(frozen=True, slots=True)
class PathFit:
    """A path that was fitted, or why it could not be; and the seconds that it took."""

    result: Retriever | CannotFit
    seconds: float

    def get(self) -> Retriever:
        """The retriever.

        Raises:
            CannotFit: it could not be fitted.
        """
        if isinstance(self.result, CannotFit):
            raise self.result
        return self.result


def fit_seeds(config: EngineConfig) -> dict[str, np.random.SeedSequence]:
    """The seed of the random stream of each path, and of the fallback, under `FALLBACK`."""
    seeds = np.random.SeedSequence(config.seed).spawn(len(config.paths) + 1)
    return dict(zip((*(path.name for path in config.paths), FALLBACK), seeds, strict=True))


def fit_state(blueprint: Blueprint, data: Dataset, progress: Progress) -> EngineState:
    """Fit every path and the fallback, see `fit_retrievers`, and build the state; each path keeps its seconds."""
    fits = fit_retrievers(blueprint, data, progress)
    state = assemble(blueprint, data, lambda name, part: fits[name].get(), fits[FALLBACK].get())
    return replace(
        state,
        paths=tuple(replace(path, fit_seconds=fits[path.name].seconds) for path in state.paths),
        fallback=replace(state.fallback, fit_seconds=fits[FALLBACK].seconds),
    )


def fit_retrievers(blueprint: Blueprint, data: Dataset, progress: Progress) -> dict[str, PathFit]:
    """The fits of all paths by name, and that of the fallback, under `FALLBACK`; that of its twin, where it has one.

    As many paths are fitted at once as the config has threads. Each has a random stream of its own, so that the number
    changes no result. The linear algebra of numpy and scipy has one thread, unless the config names a number of threads
    and there is only one path.

    Raises:
        CannotFit: a path that is not optional, or the fallback, cannot be fitted; the others are not begun any more.
    """
    config, streams = blueprint.config, fit_seeds(blueprint.config)
    needed = {path.name: f"paths[{number}] {path.name!r}: " for number, path, _ in blueprint.paths if not path.optional}
    last = blueprint.twin or FALLBACK
    needed.setdefault(last, "")
    parts = {last: blueprint.fallback} | {path.name: part for _, path, part in blueprint.paths}
    with progress.task("fitting all paths", len(parts), steady=False) as advance:
        running = _Running(advance, len(parts))
        made: list[Retriever] = []

        def fit(name: str, progress: Progress) -> PathFit:
            part, start = parts[name], perf_counter()
            retriever = part.plugin(part.settings)
            result: Retriever | CannotFit = retriever
            try:
                with running.path(name):
                    retriever.fit(data, rng=np.random.default_rng(streams[name]), progress=progress)
            except (CannotFit, MissingExtra) as fault:
                if name in needed:
                    raise CannotFit(f"{needed[name]}{fault}") from None
                result = CannotFit(str(fault))
            else:
                made.append(retriever)
            return_freed_memory()
            return PathFit(result, perf_counter() - start)

        def task(names: Sequence[str]) -> Callable[[Progress], list[PathFit]]:
            return lambda progress: [fit(name, progress) for name in names]

        alone = config.threads != AUTO and len(blueprint.paths) == 1
        with fit_threads(config.threads, config.threads if alone else 1) as n_threads:
            turns = _turns(parts, n_threads)
            try:
                fits = run_together([task(names) for names in turns], n_threads, progress)
            except BaseException:
                for retriever in made:
                    with suppress(Exception):  # what ended the fit matters more
                        retriever.close()
                raise
    by_name = {
        name: one for each, found in zip(turns, fits, strict=True) for name, one in zip(each, found, strict=True)
    }
    return {FALLBACK: by_name[last], **by_name}


def _turns(parts: dict[str, Part], n_threads: int) -> list[list[str]]:
    """The names of the paths in the order in which their fits begin; those of one list are fitted one after another.

    What several processes fit together comes first and one by one, so that all of them do it in one order. On several
    threads, those paths come last that use all of them, so that none is idle at the end.
    """
    collective = [name for name, part in parts.items() if part.plugin.collective]
    shares = {name: n_threads > 1 and part.plugin.exact_threads for name, part in parts.items()}
    others = sorted((name for name in parts if name not in collective), key=lambda name: shares[name])
    return [*([collective] if collective else []), *([name] for name in others)]


class _Running:
    """Tells which paths are being fitted, beside the bar of all paths and in the log."""

    def __init__(self, advance: Advance, n_paths: int) -> None:
        self._advance = advance
        self._n_paths = n_paths
        self._lock = threading.Lock()
        self._names: list[str] = []
        self._n_done = 0

    @contextmanager
    def path(self, name: str) -> Iterator[None]:
        """Within it, the path is being fitted."""
        start = perf_counter()
        with self._lock:
            self._names.append(name)
            self._tell(0)
        try:
            yield
            with self._lock:
                self._n_done += 1
                seconds = perf_counter() - start
                _log.info("%s fitted in %.1f s (%d of %d)", name, seconds, self._n_done, self._n_paths)
        finally:
            with self._lock:
                self._names.remove(name)
                self._tell(1)

    def _tell(self, steps: int) -> None:
        self._advance(steps, f"now {', '.join(self._names)}" if self._names else "")
