"""A linear model of the next item by the history, decayed with several half-lives, in closed form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.linalg.lapack import spotrs

from multirecall.data import Dataset, Interactions
from multirecall.errors import BundleError
from multirecall.kernels import Array, kernel
from multirecall.lists import RankedList
from multirecall.progress import SILENT, Progress
from multirecall.protocols import Answer, PluginConfig, ThreadedConfig, Trials
from multirecall.query import Query
from multirecall.storage import read_component, write_component
from multirecall.sums import Sums
from multirecall.validation import AUTO, Auto, Count, Positive

from ._choice import draw_within, search
from ._memory import DEFAULT_BYTES, MemoryBytes, require_memory
from ._neighbours.next_ridge import sparse_next_weights
from ._neighbours.ridge import cholesky
from ._part import Part
from ._similar import SimilarByHistory
from ._sparse.dense import DenseColumns, DenseRows, dense_of_arrays
from ._sparse.rows import SparseRows
from ._weights import require_order, require_weight

REACH = 10
"""Half-lives after which an event no longer counts: its weight would be below 0.1 %."""


AXES = {"half_lives": ((0.75, 7.5), (0.75, 30.0), (1.5, 15.0), (1.5, 50.0), (3.0, 30.0), (5.0, 50.0))}

MOST_ITEMS = 1_000
"""Items, the most frequent ones, on which half-lives are chosen: a fraction of a second of a core for each choice."""

MOST_EVENTS = 250_000
"""Events on which half-lives are chosen, those of a random part of the users."""

MOST_EVENTS_OF_ITEM = 50
"""Events of an item, in the mean, up to which `auto` takes the sparse form. Its time grows with their square, that of
the exact form does not depend on them."""

EXACT_BYTES, SPARSE_BYTES = 4, 24
"""Bytes of the exact form for each pair, a float32; peak bytes of the sparse one for each input of each item, while the
matrix of weights is transposed."""

HalfLives = Annotated[tuple[Annotated[Positive, Field(le=10_000)], ...], Field(min_length=1, max_length=8)]
"""Half-lives in events, one for each speed."""


class NextItemConfig(ThreadedConfig):
    """Settings of `next_item`."""

    priors: ClassVar[Mapping[str, Any]] = {"half_lives": (1.5, 15.0)}

    half_lives: Auto[HalfLives] = AUTO
    """Numbers of newer events after which the weight of an event is halved. Each half-life has weights of its own: a
    short one learns what follows at once, a long one what follows in the long run. "auto": the log chooses while an
    engine is fitted, starting from 1.5 and 15. Changes results and memory."""

    regularisation: Annotated[Positive, Field(le=1e12)] = 500.0
    """Ridge penalty, in units of events of the mean weight; few or noisy events need a larger one. Changes results."""

    form: Literal["auto", "exact", "sparse"] = "auto"
    """`exact`: the events of each item are regressed on all inputs. `sparse`: on those `inputs` only that tell most
    about the item. `auto`: `sparse` for a log with at most 50 events an item, else `exact`. Changes results."""

    inputs: Annotated[Count, Field(le=1_000)] = 60
    """Most inputs of each item in the sparse form, where each item is one input for each half-life; the time of the fit
    grows with the square. Changes results."""

    memory_bytes: MemoryBytes = DEFAULT_BYTES
    """Most bytes of the fit. In the exact form, 4 for each pair of inputs, and for each pair of an input and an item;
    in the sparse one, 24 for each of the `inputs` of each item, and 8 afterwards. A log that needs more is refused. The
    limit also bounds the time of the exact form: the default allows 9,459 items with two half-lives, which take 4.5 ·
    10¹² multiplications, a minute or two of a core."""

    threads: Count = 1
    """Threads of the fit of the sparse form; the exact form has one. Changes speed only."""


class NextItem(SimilarByHistory):
    """Scores an item by a linear function of the history, which is fitted to predict each event from those before it.

    Before event `t` of a user, input `(k, s)` is `z_t[k, s] = Σ_{p < t, x_p = s} w_p · 2^(-(t - 1 - p) / h_k)` with the
    items `x_p`, the event weights `w_p` and the half-lives `h_k`. The weights are those of the ridge regression

        B = argmin Σ_t w_t ‖y_t - z_t B‖² + λ ‖B‖² = (Σ_t w_t z_tᵀ z_t + λI)⁻¹ Σ_t w_t z_tᵀ y_t

    over all events `t`, where `y_t` is 1 at the item `x_t`, and `λ` is the `regularisation` times the cube of the mean
    weight of an event, `Σ w² / Σ w`, so that the unit of the weights changes no rank. The sparse form solves the same
    regression for each target on the few inputs that would explain most of it by themselves: those of largest
    `P_s² / (G_ss + λ)`, with the Gram matrix `G` and the products `P`. With one half-life it is a transition model of
    SLIST (Choi et al., WWW 2021, "Session-aware Linear Item-Item Models") with a future of one event.
    Needs the order of events.

    Live: histories. The weights, and the set of items, stay as fitted.
    """

    Config: ClassVar[type[PluginConfig]] = NextItemConfig
    inline = True
    filters = True
    exact_threads = True
    config: NextItemConfig
    _weights: DenseRows | DenseColumns | SparseRows

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Solve for the weights.

        The exact form takes `(n_speeds / 6 + 1) · n_speeds² · n_items³` multiplications for any log.

        Raises:
            CannotFit: the log has no order or no weight above 0, or the fit needs more than `memory_bytes`.
        """
        require_order(data, "next_item")
        require_weight(data, "next_item")
        config, log, n_items = self.config, data.interactions, data.n_items
        n_inputs = n_items * len(config.half_lives)
        if self._is_exact(log):
            self._check(EXACT_BYTES * n_inputs * (n_inputs + n_items), n_items, "set form to 'sparse'")
            self._weights = self._solve(log, progress)
            return
        self._check(SPARSE_BYTES * n_items * min(config.inputs, n_inputs), n_items, "lower inputs")
        self._weights = sparse_next_weights(
            log, self._rates(), self._reaches(), self._penalty(log), config.inputs, config.threads, progress
        )

    def choose_settings(self, data: Dataset, trials: Trials, *, rng: np.random.Generator, progress: Progress) -> None:
        """See `Retriever.choose_settings`; on the most frequent items and a part of the users."""
        require_order(data, "next_item")
        require_weight(data, "next_item")
        part = Part.most_frequent(data, MOST_ITEMS)
        queries = [part.ask(query) for query in trials.queries]
        log = data.interactions
        users = draw_within(np.arange(log.n_users), np.diff(log.offsets), MOST_EVENTS, rng)
        kept = log.at(np.isin(log.users, users) & (part.places[log.items] >= 0))
        kept = replace(kept, items=part.places[kept.items], n_items=part.items.size)

        def answer(config: NextItemConfig) -> Answer:
            path = type(self)(config)
            path._weights = path._solve(kept, SILENT)
            return part.answer_of(path, queries, trials.k)

        search(self.config, trials, answer, AXES, ordered=False)

    def _solve(self, log: Interactions, progress: Progress) -> DenseRows:
        n_items = log.n_items
        n_inputs = n_items * len(self.config.half_lives)
        gram = np.zeros((n_inputs, n_inputs), np.float32)
        products = np.zeros((n_items, n_inputs), np.float32)
        with progress.task("next_item: solving for weights", 2, steady=False) as advance:
            _accumulate(log.offsets, log.items, log.weights, self._rates(), self._reaches(), n_items, gram, products)
            gram.flat[:: n_inputs + 1] += np.float32(self._penalty(log))
            advance(1)
            solution, _ = spotrs(cholesky(gram, "next_item"), products.T, lower=1, overwrite_b=1)
            del gram
            advance(1)
        return DenseRows(np.ascontiguousarray(solution))

    def retrieve(self, query: Query, quota: int) -> RankedList:
        """See `Retriever.retrieve`."""
        n_items = self._weights.n_columns
        sums = Sums(n_items)
        self._weights.add(*_inputs(query.history, query.weights, self._rates(), self._reaches(), n_items), sums)
        return sums.top_for(query, quota)

    def part(self, rows: NDArray[np.int32]) -> Self:
        """See `Retriever.part`; it has the weights of all inputs for its items."""
        path = copy(self)
        path._weights = self._weights.with_columns(rows)
        return path

    def save(self, folder: Path) -> None:
        """See `Retriever.save`."""
        write_component(folder, self._weights.arrays(), {"n_items": self._weights.n_columns})

    @classmethod
    def load(cls, config: NextItemConfig, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`."""
        path, (arrays, meta) = cls(config), read_component(folder)
        weights: DenseRows | DenseColumns | SparseRows
        if "dense" in arrays:
            weights = dense_of_arrays(arrays)
            n_inputs = len(weights.values)
        else:
            weights = SparseRows.of_arrays(arrays, meta["n_items"])
            n_inputs = weights.offsets.size - 1
        n_items, n_speeds = weights.n_columns, len(path.config.half_lives)
        if n_inputs != n_items * n_speeds:
            raise BundleError(
                f"{folder}: holds weights of {n_inputs / n_items:g} speeds, the settings name {n_speeds} half_lives; "
                "fit and save again"
            )
        path._weights = weights
        return path

    def _is_exact(self, log: Interactions) -> bool:
        form = self.config.form
        return form == "exact" or (form == "auto" and len(log) > MOST_EVENTS_OF_ITEM * log.n_items)

    def _penalty(self, log: Interactions) -> float:
        """The ridge penalty for the weights of this log."""
        weights = log.weights.astype(np.float64)
        return float(self.config.regularisation * ((weights @ weights) / weights.sum()) ** 3)

    def _rates(self) -> NDArray[np.float64]:
        """The factor by which each half-life decays a weight from one event to the next."""
        return np.exp2(-1.0 / np.array(self.config.half_lives))

    def _reaches(self) -> NDArray[np.int64]:
        """The number of events that count for each half-life."""
        return np.array([math.ceil(REACH * half_life) for half_life in self.config.half_lives])

    def _check(self, needed: int, n_items: int, otherwise: str) -> None:
        place = f"next_item: the fit of {n_items:,} items at {len(self.config.half_lives)} speeds"
        require_memory(needed, self.config.memory_bytes, place, f"name fewer half_lives, or {otherwise}")


@kernel
def _accumulate(
    offsets: Array,
    items: Array,
    weights: Array,
    rates: Array,
    reaches: Array,
    n_items: int,
    gram: Array,
    products: Array,
) -> None:
    """Add `Σ_t w_t z_tᵀ z_t` to the upper triangle of `gram` and `Σ_t w_t y_tᵀ z_t` to `products`, in place.

    A pair of events `p ≤ q` enters every later `z_t`. With `Z_q = Σ_{t > q} w_t (r_i r_j)^(t - 1 - q)`, which is
    `w_(q+1) + r_i r_j Z_(q+1)`, the pair adds `w_p w_q r_i^(q - p) Z_q` to the entry of (i, x_p) and (j, x_q).
    """
    n_speeds = rates.size
    rest = np.empty((n_speeds, n_speeds))
    for user in range(offsets.size - 1):
        rest[:] = 0.0
        start, stop = offsets[user], offsets[user + 1]
        for newer in range(stop - 1, start - 1, -1):
            for i in range(n_speeds):
                weight = np.float64(weights[newer])
                for older in range(newer, max(start, newer - reaches[i]) - 1, -1):
                    left = i * n_items + items[older]
                    share = weight * weights[older]
                    for j in range(n_speeds):
                        if older == newer and j < i:
                            continue
                        right = j * n_items + items[newer]
                        addend = share * rest[i, j]
                        if left == right and older != newer:
                            addend *= 2.0
                        gram[min(left, right), max(left, right)] += addend
                    weight *= rates[i]
            for i in range(n_speeds):
                weight = np.float64(weights[newer])
                for older in range(newer - 1, max(start, newer - reaches[i]) - 1, -1):
                    products[items[newer], i * n_items + items[older]] += weight * weights[older]
                    weight *= rates[i]
                for j in range(n_speeds):
                    rest[i, j] = weights[newer] + rates[i] * rates[j] * rest[i, j]


@kernel
def _inputs(history: Array, weights: Array, rates: Array, reaches: Array, n_items: int) -> tuple[Array, Array]:
    """The inputs of a history, int32, and their values, float32; an input occurs once for each of its events."""
    size = 0
    for reach in reaches:
        size += min(reach, history.size)
    rows = np.empty(size, np.int32)
    values = np.empty(size, np.float32)
    place = 0
    for speed in range(rates.size):
        decay = 1.0
        for event in range(history.size - 1, max(-1, history.size - 1 - reaches[speed]), -1):
            rows[place] = speed * n_items + history[event]
            values[place] = decay * weights[event]
            decay *= rates[speed]
            place += 1
    return rows, values
