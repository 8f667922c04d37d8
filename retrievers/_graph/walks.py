"""Second-order biased random walks of node2vec on graphs in CSR form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multirecall.errors import ConfigError, DataError
from multirecall.kernels import Array, kernel

from .graph import Graph

LANES = 64
"""Walks that advance together in a kernel, so that their cache misses overlap. Speed only."""

TRIES = 32
"""Rejected proposals after which a step is drawn from all neighbours instead. Speed only."""

RETURN, DEAD_END, REJECTED = -1, -2, -3
"""What a lane proposes in place of an edge, or of a node."""

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""What a random stream adds to its state for the next number."""

LANE = np.dtype(
    [
        ("walk", np.int64),
        ("step", np.int32),
        ("tries", np.int32),
        ("state", np.uint64),
        ("back", np.float64),
        ("edge", np.int64),
        ("fraction", np.float64),
        ("previous", np.int32),
        ("current", np.int32),
        ("proposed", np.int32),
    ],
    align=True,
)
"""A walk on its way, in one cache line: the row it fills, the column that comes next, how often this step was
rejected, its random stream, the weight of the way back, the proposed edge, and the uniform number that is left
after it was drawn; the node before, this node, the node proposed."""


def walks(
    graph: Graph, starts: ArrayLike, length: int, p: float, q: float, seed: int, first: int = 0
) -> NDArray[np.int32]:
    """One second-order random walk from each start (Grover & Leskovec, KDD 2016, section 3.2).

    A walk that came from `t` to `v` steps to the neighbour `x` of `v` with a probability proportional to

        w_vx · α(t, x),    α = 1/p if x = t,  1 if there is an edge t → x,  1/q otherwise;

    its first step is by weight alone. Distance 1 is measured *from* the previous node, as in the paper (d_tx)
    and in the authors' C++ (snap, `n2v`); their Python asks for an edge x → t, which differs on directed graphs.

    Args:
        graph: where to walk.
        starts: nodes, (n,).
        length: nodes of a walk, its start included.
        p: return parameter, > 0.
        q: in-out parameter, > 0.
        seed: walk `i` depends on `seed` and `first + i` only, not on the walks beside it.
        first: number of the first walk, so that walks made in parts equal those made at once.

    Returns:
        int32 (n, length); behind a dead end (an isolated node, a directed sink) the row is filled with -1.

    Raises:
        ConfigError: `length`, `p` or `q` is out of range.
        DataError: a start is no node of the graph.
    """
    if length < 1:
        raise ConfigError(f"length must be >= 1, got {length}")
    for name, value in (("p", p), ("q", q)):
        if not 1e-9 <= value <= 1e9:
            raise ConfigError(f"{name} must be between 1e-9 and 1e9, got {value}")
    starts = np.asarray(starts)
    if starts.size and not (starts.min() >= 0 and starts.max() < graph.n_nodes):
        raise DataError(f"starts must be nodes 0 … {graph.n_nodes - 1}, got {starts.min()} … {starts.max()}")
    out = np.full((starts.size, length), -1, np.int32)
    out[:, 0] = starts
    if length == 1:
        return out
    _walk(
        graph.offsets,
        graph.neighbours,
        graph.weights,
        graph.totals,
        graph.choices,
        graph.directed,
        (1 / p, 1 / q if graph.bipartite else 1.0, 1 / q),
        np.uint64(seed % 2**64),
        first,
        out,
    )
    return out


def walk_chunks(
    graph: Graph,
    starts: NDArray[np.int32],
    n_walks: int,
    length: int,
    p: float,
    q: float,
    seed: int,
    chunk: int = 8192,
) -> Iterator[NDArray[np.int32]]:
    """`n_walks` walks from every start, at most `chunk` of them at a time, all starts in a new order each round.

    The walks, row by row, depend on `seed` but not on `chunk`. Arguments and errors are those of `walks`.
    """
    order_of_nodes = np.random.default_rng(seed)
    for number in range(n_walks):
        nodes = order_of_nodes.permutation(starts)
        for start in range(0, nodes.size, chunk):
            part = nodes[start : start + chunk]
            yield walks(graph, part, length, p, q, seed, number * nodes.size + start)


@kernel
def _mix(state: Any) -> Any:
    """The output function of splitmix64 (Steele, Lea & Flood, OOPSLA 2014)."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


@kernel
def _uniform(state: Any) -> Any:
    """A number in [0, 1) from the state of a stream."""
    return np.float64(_mix(state) >> np.uint64(11)) * 2.0**-53


@kernel
def _find(offsets: Array, neighbours: Array, sources: Array, targets: Array, found: Array) -> None:
    """Where the edges sources → targets are stored, into `found`; -1 for those that do not exist.

    All searches halve their ranges in step, so that they wait for memory together and no branch is guessed.
    """
    sizes = np.empty(sources.size, np.int64)
    longest = 0
    for position in range(sources.size):
        low = offsets[sources[position]]
        sizes[position] = offsets[sources[position] + 1] - low
        found[position] = low if sizes[position] else 0
        longest = max(longest, sizes[position])
    while longest > 1:
        longest -= longest >> 1
        for position in range(sources.size):
            half = sizes[position] >> 1
            found[position] += half * (neighbours[found[position] + half] <= targets[position])
            sizes[position] -= half
    for position in range(sources.size):
        if not sizes[position] or neighbours[found[position]] != targets[position]:
            found[position] = -1


@kernel
def _draw_edge(offsets: Array, neighbours: Array, weights: Any, biases: tuple[float, float, float], lane: Any) -> int:
    """The edge of a second-order step, drawn from all edges of the lane's node: slow, but never rejected."""
    back_bias, near_bias, far_bias = biases
    low, high = offsets[lane.current], offsets[lane.current + 1]
    found = np.empty(high - low, np.int64)
    _find(offsets, neighbours, np.full(high - low, lane.previous), neighbours[low:high], found)
    sums = np.empty(high - low, np.float64)
    total = 0.0
    for place in range(high - low):
        bias = near_bias if found[place] >= 0 else far_bias
        if neighbours[low + place] == lane.previous:
            bias = back_bias
        total += bias if weights is None else bias * weights[low + place]
        sums[place] = total
    lane.state += GOLDEN
    drawn = np.searchsorted(sums, _uniform(lane.state) * total, side="right")
    return int(min(low + drawn, high - 1))


@kernel
def _walk(
    offsets: Array,
    neighbours: Array,
    weights: Any,
    totals: Any,
    choices: Any,
    directed: bool,
    biases: tuple[float, float, float],
    seed: Any,
    first: int,
    walks: Array,
) -> None:
    """Complete the walks that begin with `walks[:, 0]`; arrays as in `Graph`.

    Each step is drawn by rejection. A proposal is the way back, or a neighbour by weight under the envelope
    `max(near_bias, far_bias)`; whether t → x exists is looked up only where the answer matters. The way back
    stands outside of the envelope (the outlier of KnightKing, Yang et al., SOSP 2019), so that a small p makes
    no acceptance rare. Where near and far weigh the same, as they do on a bipartite graph, whose neighbours of
    v are never neighbours of t, every unweighted proposal is accepted: the exact short cut.

    A round makes one proposal for each lane, in passes of one memory access each; a lane whose walk has ended
    takes the next one.
    """
    n_walks, length = walks.shape
    back_bias, near_bias, far_bias = biases
    second_order = back_bias != 1.0 or near_bias != 1.0 or far_bias != 1.0
    envelope = max(near_bias, far_bias)
    surely = min(near_bias, far_bias)
    near_is_likelier = near_bias > far_bias
    lanes = np.zeros(LANES, LANE)
    sources = np.empty(LANES, np.int32)
    targets = np.empty(LANES, np.int32)
    found = np.empty(LANES, np.int64)
    unsure = np.empty(LANES, np.int64)
    upcoming, active = 0, 0
    while active or upcoming < n_walks:
        while active < LANES and upcoming < n_walks:
            lane = lanes[active]
            lane.walk, lane.step, lane.tries = upcoming, 1, 0
            lane.previous, lane.current = -1, walks[upcoming, 0]
            lane.state = _mix(_mix(seed) + GOLDEN * np.uint64(first + upcoming))
            active += 1
            upcoming += 1

        if directed:
            for position in range(active):
                sources[position] = lanes[position].current
                targets[position] = lanes[position].previous
            _find(offsets, neighbours, sources[:active], targets[:active], found)

        for position in range(active):
            lane = lanes[position]
            low = offsets[lane.current]
            degree = offsets[lane.current + 1] - low
            returns = found[position] >= 0 if directed else lane.previous >= 0
            if weights is None:
                n_places = degree - returns
                outlier = returns * back_bias
                per_place = envelope
            else:
                if directed and returns:
                    lane.back = weights[found[position]]
                n_places = degree
                outlier = returns * lane.back * max(0.0, back_bias - envelope)
                per_place = totals[lane.current] * envelope / max(degree, 1)
            lane.state += GOLDEN
            rest = _uniform(lane.state) * (outlier + n_places * per_place) - outlier
            place = rest / per_place if degree else 0.0
            which = min(np.int64(place), n_places - 1)
            lane.fraction = place - which
            lane.edge = RETURN if rest < 0.0 else low + which
            if not degree:
                lane.edge = DEAD_END

        n_unsure = 0
        for position in range(active):
            lane = lanes[position]
            edge = max(lane.edge, 0)
            height = lane.fraction * envelope
            if weights is not None:
                edge += choices[edge].jump * (lane.fraction >= choices[edge].keep)
                lane.state += GOLDEN
                height = _uniform(lane.state) * envelope
            node = neighbours[edge]
            is_back = node == lane.previous
            if weights is None:
                if is_back:
                    node = neighbours[offsets[lane.current + 1] - 1]
                sure = height < surely
            else:
                node = REJECTED if is_back and height >= back_bias else node
                sure = is_back or height < surely
                lane.edge = edge if lane.edge >= 0 else lane.edge
            lane.proposed = node if lane.edge >= 0 else lane.previous
            unsure[n_unsure] = position
            n_unsure += not (sure or lane.edge < 0 or lane.previous < 0)

        for position in range(n_unsure):
            lane = lanes[unsure[position]]
            source, target = lane.previous, lane.proposed
            n_ahead, n_behind = offsets[target + 1] - offsets[target], offsets[source + 1] - offsets[source]
            swaps = not directed and n_ahead < n_behind
            sources[position] = target if swaps else source
            targets[position] = source if swaps else target
        _find(offsets, neighbours, sources[:n_unsure], targets[:n_unsure], found)
        for position in range(n_unsure):
            if near_is_likelier != (found[position] >= 0):
                lanes[unsure[position]].proposed = REJECTED

        for position in range(active - 1, -1, -1):
            lane = lanes[position]
            if lane.proposed == REJECTED:
                lane.tries += 1
                if lane.tries < TRIES:
                    continue
                lane.edge = _draw_edge(offsets, neighbours, weights, biases, lane)
                lane.proposed = neighbours[lane.edge]
            if lane.edge != DEAD_END:
                walks[lane.walk, lane.step] = lane.proposed
                lane.step += 1
                lane.tries = 0
                lane.previous = lane.current if second_order else -1
                lane.current = lane.proposed
                if weights is not None and lane.edge != RETURN:
                    lane.back = weights[lane.edge]
            if lane.edge == DEAD_END or lane.step == length:
                active -= 1
                lanes[position] = lanes[active]
