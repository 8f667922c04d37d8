"""The kinds of vector index: the settings of one, found by its name, and how it is built and loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BeforeValidator, SerializeAsAny, WithJsonSchema

from multirecall.progress import SILENT, Progress
from multirecall.vector_index import INDEXES, IndexConfig, Space, VectorIndex

from .._shard import FOLDER
from .shard import ShardIndex

SHARED_KEYS = {"kind", "recall", "M", "ef_construction", "ef_search"}
"""The keys of all kinds, which an older release wrote into every bundle. Keys of other kinds are ignored."""


def index_settings(given: Any = None) -> IndexConfig:
    """The checked settings of the kind that `given` names, a mapping or another config; `auto` where it names none.

    Raises:
        ValueError: the kind or a key is unknown.
        ValidationError: a value is of another type or out of range.
        PluginError: the kind is broken, such as by a library that is not installed.
    """
    if not isinstance(given, Mapping | IndexConfig | None):
        raise ValueError("an index is a table; write such as {kind = 'exact'}")
    values = {"kind": "auto", **dict(given or {})}
    kind = values["kind"]
    if kind not in INDEXES.names():
        raise ValueError(f"no index is of kind {kind!r}; installed: {', '.join(INDEXES.names())}")
    config: Any = INDEXES.load(kind).Config
    if values.keys() == SHARED_KEYS:
        values = {key: value for key, value in values.items() if key in config.model_fields}
    unknown = [key for key in values if key not in config.model_fields]
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}; kind {kind!r} has the keys {', '.join(config.model_fields)}")
    checked: IndexConfig = config.model_validate(values)
    return checked


IndexSettings = Annotated[
    SerializeAsAny[IndexConfig],
    BeforeValidator(index_settings),
    WithJsonSchema(
        {
            "type": "object",
            "properties": {"kind": {"type": "string", "default": "auto"}},
            "additionalProperties": True,
        }
    ),
]
"""A field of a retriever's `Config` that holds the settings of an index, of whatever kind; `index_settings` gives its
default."""


def build_index(
    rows: NDArray[np.int32],
    vectors: ArrayLike,
    space: Space,
    settings: IndexConfig,
    *,
    rng: np.random.Generator,
    asked: ArrayLike | None = None,
    threads: int = 1,
    progress: Progress = SILENT,
) -> VectorIndex:
    """An index of the kind that `settings` are of, over `vectors` (n, dim) of the item rows `rows` (n,).

    `asked` (m, dim) are queries as they will come, which an index that measures its recall needs where they are not
    like the vectors. The same input and the same state of `rng` give the same index with one thread; with more, a
    graph differs from build to build.

    Raises:
        DataError: a row is repeated or negative, shapes do not fit, or a vector is not finite.
    """
    seed = int(rng.integers(2**31))
    kind = INDEXES.load(settings.kind)
    return kind.build(rows, vectors, space, settings, seed=seed, asked=asked, threads=threads, progress=progress)


def load_index(folder: Path, settings: IndexConfig, *, threads: int = 1, verify: bool = True) -> VectorIndex:
    """The index that was saved into `folder`; `settings`, of the kind that it had, hold for searches and later builds.

    `verify` compares every file with the manifest first. A retriever passes False, since the engine has compared all
    files of the bundle.

    Raises:
        BundleError: a file is missing or damaged, another version has written it, or it is of another kind.
    """
    kind = ShardIndex if (folder / FOLDER).exists() else INDEXES.load(settings.kind)
    return kind.load(folder, settings, threads=threads, verify=verify)
