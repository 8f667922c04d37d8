"""Splitting a bundle by items: a bundle without paths for the client, and one for each shard."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.config import EngineConfig, FusionConfig
from multirecall.engine.bundle import bundle
from multirecall.engine.bundle.journal import JournalReader
from multirecall.engine.bundle.store import replay
from multirecall.engine.neighbours import compares_items
from multirecall.engine.path import Path as PathOfEngine
from multirecall.engine.state import EngineState
from multirecall.errors import BundleError, RequestError
from multirecall.progress import SILENT, Progress
from multirecall.scaleout.layout import Layout, PlaceOfPath, shard_folder
from multirecall.scaleout.owners import owners_of
from multirecall.storage import read_manifest

Files = Mapping[str, Mapping[str, Any]]
"""The files of a version with their length and SHA-256, as its manifest lists them."""


@dataclass(frozen=True, slots=True)
class PathSizes:
    """The bytes of a path's files.

    Attributes:
        whole: the shard that has the path whole; None: each has a part.
        before: in the bundle that was sharded.
        split: in all shards together, each file that is the same in all of them left out.
        replicated: of the files that are the same in all shards; each shard has them.
    """

    whole: int | None
    before: int
    split: int
    replicated: int


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What `shard_bundle` made.

    Attributes:
        items: the number of items of each shard.
        paths: the sizes of each path, by name.
        data: the bytes of the data, which the client and every shard have.
    """

    items: tuple[int, ...]
    paths: Mapping[str, PathSizes]
    data: int


def shard_bundle(
    source: str | Path,
    n_shards: int,
    out: str | Path,
    *,
    strict: bool = False,
    seed: int = 0,
    plugins: Sequence[type] = (),
    progress: Progress = SILENT,
) -> ShardReport:
    """Split the current version of a bundle by items, with the live changes that it holds.

    `out` becomes a sharded bundle: the data, the fallback and the journal of live changes at the top, and below it a
    bundle for each shard, with all the data and its part of each path, see `Retriever.part`. A path that cannot be
    split stands whole on one shard. Files with equal content are linked, so that the disk and the page cache hold them
    once.

    Args:
        source: the bundle.
        n_shards: the number of shards.
        out: a folder that does not exist, or is empty.
        strict: whether to refuse a path that cannot be split.
        seed: another seed splits the items in another way.
        plugins: as for `Engine.load`.
        progress: is told of each shard.

    Raises:
        RequestError: a path cannot be split, in `strict`; or `n_shards` is no whole number > 0.
        BundleError: `source` cannot be loaded, or `out` cannot be written or is not empty.
    """
    if isinstance(n_shards, bool) or not isinstance(n_shards, int) or n_shards < 1:
        raise RequestError(f"shards must be a whole number > 0, got {n_shards!r}")
    out = Path(out).resolve()
    try:
        if out.exists() and any(out.iterdir()):
            raise BundleError(f"{out}: is not empty; choose another folder")
        draft = out.with_name(f".{out.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        report = _write(Path(source), n_shards, draft, strict, seed, plugins, progress)
        if out.exists():
            out.rmdir()
        draft.rename(out)
    except OSError as fault:
        raise BundleError(f"{out}: cannot be written ({fault}); check the disk and the permissions") from None
    return report


def _write(
    source: Path, n_shards: int, draft: Path, strict: bool, seed: int, plugins: Sequence[type], progress: Progress
) -> ShardReport:
    config, state, version = bundle.load(source, plugins=plugins)
    state = replace(replay(state, JournalReader(source, version.bundle)), journal_seq=0)
    owners = owners_of(state.data.items.ids.ids().tolist(), n_shards, seed)
    places = _places(state, n_shards, strict)
    settled = config if state.learned is None else state.learned.report.apply_to(config)
    draft.mkdir(parents=True)
    versions = [draft / bundle.save(state, config, draft, bare=True).name]
    with progress.task("writing shards", n_shards, steady=False) as advance:
        for shard in range(n_shards):
            part = _part(state, places, shard, np.flatnonzero(owners == shard).astype(np.int32))
            folder = shard_folder(draft, shard)
            folder.mkdir(parents=True)
            made = folder / bundle.save(part, _config_of(settled, part.names), folder).name
            for other in versions:
                _link_equal(other, made)
            versions.append(made)
            advance(1)
    client, *shards = (str(read_manifest(one)["sha256"]) for one in versions)
    Layout(seed=seed, n_items=state.data.n_items, client=client, shards=tuple(shards), paths=places).write(draft)
    items = tuple(np.bincount(owners, minlength=n_shards).tolist())
    return _report(_files(source / version.name), [_files(one) for one in versions[1:]], items, places)


def _places(state: EngineState, n_shards: int, strict: bool) -> dict[str, PlaceOfPath]:
    """Where each path will stand. The paths that cannot be split take turns."""
    nothing = np.empty(0, np.int32)
    places: dict[str, PlaceOfPath] = {}
    turn = 0
    for path in state.paths:
        whole = path.retriever.part(nothing) is None
        if whole and strict:
            raise RequestError(
                f"path {path.name!r} cannot be split, its retriever has no `part`; leave `strict` out, and it stands "
                "whole on one shard"
            )
        places[path.name] = PlaceOfPath(shard=turn % n_shards if whole else None, compares=compares_items(path))
        turn += whole
    if turn == len(places):
        raise RequestError("no path of this bundle can be split, so shards gain nothing; serve the bundle as it is")
    return places


def _part(state: EngineState, places: Mapping[str, PlaceOfPath], shard: int, rows: NDArray[np.int32]) -> EngineState:
    """The state of a shard: its part of each path that is split, and the paths that stand there whole."""
    paths: list[PathOfEngine] = []
    for path in state.paths:
        place = places[path.name]
        if place.shard is None:
            part = path.retriever.part(_known(path, rows))
            assert part is not None  # it could be split into no rows
            paths.append(replace(path, retriever=part))
        elif place.shard == shard:
            paths.append(path)
    fallback = state.fallback.retriever.part(_known(state.fallback, rows))
    return replace(
        state,
        paths=tuple(paths),
        fallback=replace(state.fallback, retriever=fallback or state.fallback.retriever),
        learned=None,
    )


def _known(path: PathOfEngine, rows: NDArray[np.int32]) -> NDArray[np.int32]:
    """The rows without those that joined after the path was fitted, which it never sees."""
    return rows[: rows.searchsorted(path.n_items)]


def _config_of(config: EngineConfig, names: Sequence[str]) -> EngineConfig:
    """The config of a shard: the paths that stand there, with the settings that were learned; the client fuses."""
    paths = tuple(path for path in config.paths if path.name in names)
    return config.model_copy(update={"paths": paths, "fusion": FusionConfig(strategy="rrf"), "segments": ()})


def _link_equal(first: Path, second: Path) -> None:
    """Let both versions share the files that are the same in both."""
    known = _files(first)
    for name, entry in _files(second).items():
        if known.get(name) == entry and not (first / name).samefile(second / name):
            link = second / f"{name}.link"
            os.link(first / name, link)
            link.replace(second / name)


def _report(
    source: Files, shards: Sequence[Files], items: tuple[int, ...], places: Mapping[str, PlaceOfPath]
) -> ShardReport:
    sizes = {}
    for name, place in places.items():
        before, *own = (_below(files, f"paths/{name}/") for files in (source, *shards))
        common = set(own[0]) if len(own) > 1 else set()
        for files in own:
            common = {file for file in common if files.get(file) == own[0][file]}
        sizes[name] = PathSizes(
            place.shard,
            _bytes(before),
            sum(_bytes({file: entry for file, entry in files.items() if file not in common}) for files in own),
            _bytes({file: own[0][file] for file in common}),
        )
    return ShardReport(items, sizes, _bytes(_below(shards[0], "data/")))


def _files(version: Path) -> Files:
    files: Files = read_manifest(version)["files"]
    return files


def _below(files: Files, place: str) -> Files:
    return {file: entry for file, entry in files.items() if file.startswith(place)}


def _bytes(files: Files) -> int:
    return sum(int(entry["bytes"]) for entry in files.values())
