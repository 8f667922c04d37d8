"""A linear model of the next item by the history, decayed with several half-lives, in closed form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.linalg.lapack import spotrs

from multirecall.data import Dataset, Interactions
from multirecall.errors import BundleError
from multirecall.kernels import Array, kernel
from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import SILENT, Progress
from multirecall.protocols import PluginConfig, Trials
from multirecall.query import Query
from multirecall.storage import read_component, write_component
from multirecall.sums import Sums
from multirecall.validation import AUTO, Auto, Positive

from ._choice import draw_within, search
from ._memory import DEFAULT_BYTES, MemoryBytes, require_memory
from ._neighbours.ridge import cholesky
from ._part import Part
from ._similar import SimilarByHistory
from ._sparse.dense import DenseColumns, DenseRows, dense_of_arrays
from ._weights import require_order, require_weight

REACH = 10
"""Half-lives after which an event no longer counts: its weight would be below 0.1 %."""


AXES = {"half_lives": ((0.75, 7.5), (0.75, 30.0), (1.5, 15.0), (1.5, 50.0), (3.0, 30.0), (5.0, 50.0))}

MOST_ITEMS = 1_000
"""Items, the most frequent ones, on which half-lives are chosen: a fraction of a second of a core for each choice."""

MOST_EVENTS = 250_000
"""Events on which half-lives are chosen, those of a random part of the users."""

HalfLives = Annotated[tuple[Annotated[Positive, Field(le=10_000)], ...], Field(min_length=1, max_length=8)]
"""Half-lives in events, one for each speed."""


class NextItemConfig(PluginConfig):
    """Settings of `next_item`."""

    priors: ClassVar[Mapping[str, Any]] = {"half_lives": (1.5, 15.0)}

    half_lives: Auto[HalfLives] = AUTO
    """Numbers of newer events after which the weight of an event is halved. Each half-life has weights of its own: a
    short one learns what follows at once, a long one what follows in the long run. "auto": the log chooses while an
    engine is fitted, starting from 1.5 and 15. Changes results and memory."""

    regularisation: Annotated[Positive, Field(le=1e12)] = 500.0
    """Ridge penalty, in units of events; few or noisy events need a larger one. Changes results."""

    memory_bytes: MemoryBytes = DEFAULT_BYTES
    """Most bytes of the fit: 4 for each pair of inputs, and for each pair of an input and an item, where each item is
    one input for each half-life. A log that needs more is refused. The limit also bounds the time of the fit: the
    default allows 9,459 items with two half-lives, which take 4.5 · 10¹² multiplications, a minute or two of a
    core."""


class NextItem(SimilarByHistory):
    """Scores an item by a linear function of the history, which is fitted to predict each event from those before it.

    Before event `t` of a user, input `(k, s)` is `z_t[k, s] = Σ_{p < t, x_p = s} w_p · 2^(-(t - 1 - p) / h_k)` with the
    items `x_p`, the event weights `w_p` and the half-lives `h_k`. The weights are those of the ridge regression

        B = argmin Σ_t w_t ‖y_t - z_t B‖² + λ ‖B‖² = (Σ_t w_t z_tᵀ z_t + λI)⁻¹ Σ_t w_t z_tᵀ y_t

    over all events `t`, where `y_t` is 1 at the item `x_t`. With one half-life it is a transition model of SLIST (Choi
    et al., WWW 2021, "Session-aware Linear Item-Item Models") with a future of one event.
    Needs the order of events.

    Live: histories. The weights, and the set of items, stay as fitted.
    """

    Config: ClassVar[type[PluginConfig]] = NextItemConfig
    inline = True
    filters = True
    config: NextItemConfig
    _weights: DenseRows | DenseColumns

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        """Solve for the weights: `(n_speeds / 6 + 1) · n_speeds² · n_items³` multiplications for any log.

        Raises:
            CannotFit: the log has no order or no weight above 0, or the fit needs more than `memory_bytes`.
        """
        require_order(data, "next_item")
        require_weight(data, "next_item")
        self._check_memory(data.n_items, data.n_items * len(self.config.half_lives))
        self._weights = self._solve(data.interactions, progress)

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

        def answer(config: NextItemConfig) -> RankedBatch:
            path = type(self)(config)
            path._weights = path._solve(kept, SILENT)
            return part.restore(path.retrieve_batch(queries, trials.k))

        search(self.config, trials, answer, AXES)

    def _solve(self, log: Interactions, progress: Progress) -> DenseRows:
        n_items = log.n_items
        n_inputs = n_items * len(self.config.half_lives)
        gram = np.zeros((n_inputs, n_inputs), np.float32)
        products = np.zeros((n_items, n_inputs), np.float32)
        with progress.task("next_item: solving for weights", 2, steady=False) as advance:
            _accumulate(log.offsets, log.items, log.weights, self._rates(), self._reaches(), n_items, gram, products)
            gram.flat[:: n_inputs + 1] += np.float32(self.config.regularisation)
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
        write_component(folder, self._weights.arrays(), {})

    @classmethod
    def load(cls, config: NextItemConfig, folder: Path, data: Dataset) -> Self:
        """See `Retriever.load`."""
        path, weights = cls(config), dense_of_arrays(read_component(folder)[0])
        n_inputs, n_items, n_speeds = len(weights.values), weights.n_columns, len(path.config.half_lives)
        if n_inputs != n_items * n_speeds:
            raise BundleError(
                f"{folder}: holds weights of {n_inputs / n_items:g} speeds, the settings name {n_speeds} half_lives; "
                "fit and save again"
            )
        path._weights = weights
        return path

    def _rates(self) -> NDArray[np.float64]:
        """The factor by which each half-life decays a weight from one event to the next."""
        return np.exp2(-1.0 / np.array(self.config.half_lives))

    def _reaches(self) -> NDArray[np.int64]:
        """The number of events that count for each half-life."""
        return np.array([math.ceil(REACH * half_life) for half_life in self.config.half_lives])

    def _check_memory(self, n_items: int, n_inputs: int) -> None:
        require_memory(
            4 * n_inputs * (n_inputs + n_items),
            self.config.memory_bytes,
            f"next_item: the fit of {n_items:,} items at {len(self.config.half_lives)} speeds",
            "name fewer half_lives, or take the path 'sequence'",
        )


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
