"""The first fit on a machine: processes on other cores compile kernels ahead of it."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from multirecall.cli.screen import note
from multirecall.config import EngineConfig
from multirecall.cores import usable_cores
from multirecall.data import Dataset
from multirecall.datasets import generate
from multirecall.engine import Engine
from multirecall.errors import MultirecallError
from multirecall.evaluation import Split, evaluate, time_split
from multirecall.kernel_cache import cache_state

MOST_HELPERS = 3
"""More processes would compile the same kernels at the same time too often."""


@contextmanager
def compile_ahead() -> Iterator[None]:
    """Let other processes compile kernels while the body fits and asks an engine, if no kernel is kept yet.

    All keep what they compile in one cache. Each helper begins with other paths than the body does, and finds what is
    compiled by then. They end with the body, at the latest. Where nothing can be kept, they could not help.
    """
    state = cache_state()
    if state.n_kept or not state.writable:
        yield
        return
    note("the first run on this machine compiles kernels for its processor, which takes a minute or two")
    n_helpers = min(usable_cores() - 1, MOST_HELPERS)
    helpers = [
        subprocess.Popen(
            [sys.executable, "-m", __name__, str(number), str(n_helpers)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for number in range(n_helpers)
    ]
    try:
        yield
    finally:
        for helper in helpers:
            helper.terminate()
            helper.wait()


def help_compile(number: int, n_helpers: int) -> None:
    """Do what a helper does: fit and ask each default path, and fuse, begun at another place by each helper."""
    gc.disable()  # the process is short, and a compilation makes many objects
    logging.disable()
    log = generate(n_users=200, n_items=300, n_interactions=4_000)
    split = time_split(Dataset.from_frames(log.interactions, log.items, log.users), 0.1)
    names = [path.name for path in EngineConfig().paths]
    tasks: list[Callable[[], None]] = [partial(_use, split, ["item_cf", "popularity"], learn=True)]
    tasks += [partial(_use, split, [name], learn=False) for name in reversed(names)]
    first = number * len(tasks) // n_helpers
    for task in tasks[first:] + tasks[:first]:
        with suppress(MultirecallError):  # a path whose extra is not installed
            task()


def _use(split: Split, names: list[str], *, learn: bool) -> None:
    """Fit and ask an engine of these paths."""
    paths = [{"retriever": name} for name in names]
    settings = {} if learn else {"fusion": {"strategy": "rrf"}}
    engine = Engine(EngineConfig.model_validate({"paths": paths, "threads": 1, **settings})).fit(split.train)
    evaluate(engine, split, (20,))
    user = split.users[0].item()
    engine.path_lists([user])
    engine.explain(user, engine.retrieve(user).ids[0].item())


if __name__ == "__main__":
    help_compile(*map(int, sys.argv[1:]))
