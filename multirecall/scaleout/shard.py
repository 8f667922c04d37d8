"""One shard: the engine's paths over its own items, asked by messages. A replica of a shard is a process with one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Change
from multirecall.engine.bundle import bundle
from multirecall.engine.deadline import Deadline
from multirecall.engine.footprint import held_bytes
from multirecall.engine.live import apply_changes
from multirecall.engine.path import Outcome, fault_text
from multirecall.engine.path import Path as PathOfEngine
from multirecall.engine.runner import ask_paths
from multirecall.engine.state import EngineState
from multirecall.engine.warmup import warm_up
from multirecall.engine.where import read_where
from multirecall.errors import BundleError
from multirecall.plugins import import_class
from multirecall.query import Where
from multirecall.scaleout.layout import Layout, shard_folder
from multirecall.scaleout.owners import owners_of
from multirecall.scaleout.queries import pack_outcomes, unpack_queries
from multirecall.scaleout.wire import pack, unpack
from multirecall.storage import read_manifest
from multirecall.topk import NO_ROWS

Values = dict[str, Any]
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class ShardState:
    """What a shard serves.

    Attributes:
        engine: the state of the engine over the shard's items, with the data of the whole.
        foreign: the rows of items that joined after the split and belong to other shards, int32, ascending.
        own: bitmap over item rows without `foreign` and without removed items; None: every row.
        placed: the number of item rows of which it is known whether they are foreign.
    """

    engine: EngineState
    foreign: NDArray[np.int32]
    own: NDArray[np.bool_] | None
    placed: int


class Shard:
    """Answers the messages of a client. Any number of threads may call it."""

    def __init__(self, folder: str, number: int, plugins: Sequence[str] = ()) -> None:
        """Load the shard's bundle and compile what requests need.

        Args:
            folder: the sharded bundle.
            number: which shard.
            plugins: classes that the bundle may use, as `module:Class`. Their modules are imported.

        Raises:
            BundleError: the bundle is damaged, or is not the one that was sharded with the others.
        """
        self._layout = Layout.read(Path(folder))
        self._number = number
        own = shard_folder(Path(folder), number)
        _, state, version = bundle.load(own, plugins=[import_class(name) for name in plugins])
        if read_manifest(own / version.name)["sha256"] != self._layout.shards[number]:
            raise BundleError(f"{own}: is not what was sharded with the others; shard the bundle again")
        warm_up(state)
        state.serve()
        self._turn = threading.Lock()
        self._state = self._with_foreign(ShardState(state, NO_ROWS, state.allowed, self._layout.n_items))

    def call(self, method: str, message: bytes) -> bytes:
        """The answer to a message. What goes wrong is an answer as well, so that its text alone reaches the client.

        Args:
            method: `ask`, `similar`, `explain`, `apply`, `ping` or `health`.
            message: what it takes.
        """
        answers: dict[str, Callable[[Values, Arrays], bytes]] = {
            "ask": self._ask,
            "similar": self._similar,
            "explain": self._explain,
            "apply": self._apply,
            "ping": self._ping,
            "health": self._health,
        }
        try:
            return answers[method](*unpack(message))
        except Exception as fault:  # noqa: BLE001 - the client must learn of it, whatever it is
            return pack({"fault": fault_text(fault)}, {})

    def _ask(self, values: Values, arrays: Arrays) -> bytes:
        """The ranked lists of the shard's paths for the queries of a request, at least as new as it wants them."""
        state = self._state
        if state.engine.journal_seq < values["seq"]:
            return pack({"behind": state.engine.journal_seq}, {})
        deadline = Deadline(values["limit_ms"])
        windows = dict(zip(values["paths"], values["windows"], strict=True))
        outcomes: dict[str, Outcome[Any]] = {}
        for paths in self._alike(state, [path for path in state.engine.paths if path.name in windows]):
            allowed, where = self._allowed(state, paths[0], values["where"])
            queries = unpack_queries(values, arrays, allowed, where, state.engine.removed, deadline.moment)
            own = [windows[path.name] for path in paths]
            if values["batch"]:
                answers: list[Any] = [
                    path.answer_batch(queries, window) for path, window in zip(paths, own, strict=True)
                ]
            else:
                asked = [replace(path, dropped=None, similar=values["similar"]) for path in paths]
                answers = ask_paths(asked, own, queries[0], deadline)
            outcomes |= zip([path.name for path in paths], answers, strict=True)
        return pack_outcomes(list(outcomes), list(outcomes.values()), ms=deadline.elapsed_ms)

    def _similar(self, values: Values, arrays: Arrays) -> bytes:
        """The items most like some items, by one path, among the shard's own."""
        state = self._state
        [path] = [one for one in state.engine.paths if one.name == values["path"]]
        own, _ = self._allowed(state, path, {})
        if "allowed" in arrays:
            given = np.unpackbits(arrays["allowed"], count=values["n_allowed"]).view(np.bool_)
            own = _both(given, own, state.engine.data.n_items)
        bitmap = np.empty(0, np.bool_) if own is None else own[: path.n_items]
        bounds = arrays["excluded"]
        filters = [(arrays["exclude"][start:stop], bitmap) for start, stop in pairwise(bounds)]
        found = path.retriever.similar_items(arrays["items"], values["k"], filters)
        assert found is not None  # the client asks only paths that compare items
        return pack({}, {"offsets": found.offsets, "items": found.items, "scores": found.scores})

    def _explain(self, values: Values, arrays: Arrays) -> bytes:
        """Why a path proposes an item of the shard."""
        state = self._state
        [path] = [one for one in state.engine.paths if one.name == values["path"]]
        allowed, where = self._allowed(state, path, values["where"])
        [query] = unpack_queries(values, arrays, allowed, where, state.engine.removed)
        reason = path.explain(query, values["item"])
        return pack({"text": None}, {}) if reason is None else pack({"text": reason.text}, {"items": reason.items})

    def _apply(self, values: Values, arrays: Arrays) -> bytes:
        """Apply journaled changes, and return the number of the last one that is served."""
        with self._turn:
            state = self._state
            done = state.engine.journal_seq - values["after"]
            if done < 0:
                return pack({"seq": state.engine.journal_seq}, {})
            bounds, payloads = arrays["bounds"], arrays["payloads"].tobytes()
            due = [
                Change.of_bytes(payloads[start:stop])
                for start, stop in zip(bounds[done:-1].tolist(), bounds[done + 1 :].tolist(), strict=True)
            ]
            if due:
                engine = apply_changes(state.engine, due)
                engine = replace(engine, journal_seq=state.engine.journal_seq + len(due))
                engine.serve()
                self._state = self._with_foreign(replace(state, engine=engine))
                state.engine.close(engine)
            return pack({"seq": self._state.engine.journal_seq}, {})

    def _ping(self, *_: object) -> bytes:
        """How far the shard is."""
        return pack({"seq": self._state.engine.journal_seq}, {})

    def _health(self, *_: object) -> bytes:
        """Of each path the memory, and whether it is stale, or what else is wrong with it."""
        state = self._state.engine
        paths = {
            path.name: [held_bytes(path.retriever, state.data), path.stale or path.trouble] for path in state.paths
        }
        return pack({"paths": paths}, {})

    def _is_whole(self, path: PathOfEngine) -> bool:
        return self._layout.paths[path.name].shard is not None

    def _alike(self, state: ShardState, paths: Sequence[PathOfEngine]) -> list[list[PathOfEngine]]:
        """The paths, those together for which the same items are allowed."""
        if not state.foreign.size:
            return [list(paths)] if paths else []
        groups = [[path for path in paths if self._is_whole(path) == whole] for whole in (True, False)]
        return [group for group in groups if group]

    def _allowed(
        self, state: ShardState, path: PathOfEngine, where: dict[str, Any]
    ) -> tuple[NDArray[np.bool_] | None, Where]:
        """The items that a path may propose here, None for every row, and `where` as a value."""
        own = state.engine.allowed if self._is_whole(path) else state.own
        if not where:
            return own, Where()
        meeting, conditions = read_where(where, state.engine.data.items)
        return meeting if own is None else meeting & own, conditions

    def _with_foreign(self, state: ShardState) -> ShardState:
        """Add the rows of items that have joined since, and belong to other shards."""
        data, layout = state.engine.data, self._layout
        fresh = np.arange(state.placed, data.n_items, dtype=np.int32)
        owners = owners_of(data.items.ids.ids(fresh).tolist(), len(layout.shards), layout.seed)
        foreign = np.concatenate([state.foreign, fresh[owners != self._number]])
        if not foreign.size:
            return replace(state, own=state.engine.allowed, placed=data.n_items)
        own = np.ones(data.n_items, np.bool_) if state.engine.allowed is None else state.engine.allowed.copy()
        own[foreign] = False
        return replace(state, foreign=foreign, own=own, placed=data.n_items)


def _both(given: NDArray[np.bool_], own: NDArray[np.bool_] | None, n_items: int) -> NDArray[np.bool_]:
    """The rows that both allow, bool (n_items,); what joined after the client had made `given` is not allowed."""
    both = np.zeros(n_items, np.bool_)
    both[: given.size] = given[:n_items]
    return both if own is None else both & own
