"""Asking the paths of an engine for the users of a slice."""

from __future__ import annotations

import numpy as np

from multirecall.config import EngineConfig
from multirecall.engine import Engine
from multirecall.evaluation import Split, history_lengths, retrieve_lists
from multirecall.learning.choice import PLAIN
from multirecall.learning.lists import KnownLists
from multirecall.progress import Progress


def without_fusion(config: EngineConfig) -> EngineConfig:
    """The paths of `config` with a plain fusion, which asks each path for its quota, and without segments."""
    values = config.model_dump(exclude_unset=True)
    kept = {key: value for key, value in values.items() if key not in ("fusion", "segments")}
    return EngineConfig.model_validate(kept | {"fusion": {"strategy": PLAIN[0]}})


def ask_paths(engine: Engine, split: Split, progress: Progress) -> KnownLists:
    """The lists of every path for every user of `split`, one request for each.

    `engine` has a config from `without_fusion` and is fitted on `split.train`.

    Raises:
        RequestError: the engine was fitted on other data.
        PathError: a path fails.
    """
    lists = retrieve_lists(engine, split, None, progress=progress).paths
    quotas = {path.name: path.quota for path in engine.config.paths}
    return KnownLists(
        tuple(lists),
        tuple(lists.values()),
        tuple(quotas[name] for name in lists),
        split.offsets,
        split.targets,
        np.arange(split.users.size),
        history_lengths(split),
    )
