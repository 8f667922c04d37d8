"""A limit on the time that the paths of a request take together."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from multirecall.errors import RequestError
from multirecall.learning.choice import FusionChoice
from multirecall.learning.guard import EQUAL
from multirecall.learning.judge import Judge
from multirecall.learning.lists import KnownLists
from multirecall.learning.trials import try_fixed


def paths_within(
    budget_ms: float | None,
    lists: KnownLists,
    ms: Mapping[str, float],
    weights: Sequence[float],
    required: Collection[str],
    k: int,
) -> list[int]:
    """The positions of the paths to keep, so that they take at most `budget_ms` together.

    Paths that exceed the budget alone go first. Then, each time, the path goes whose absence costs equal weights least
    for each millisecond that it saves.

    Args:
        budget_ms: the limit in milliseconds; None: there is none.
        lists: the lists of every path.
        ms: the median latency of each path in single requests, in milliseconds.
        weights: the weights of the paths before anything is learned.
        required: the names of paths that are never dropped.
        k: the number of candidates that the engine returns.

    Raises:
        RequestError: the required paths, or any path at all, exceed the budget.
    """
    names = lists.names
    if budget_ms is None:
        return list(range(len(names)))
    own = [ms[name] for name in names]
    kept = [path for path, name in enumerate(names) if name in required or own[path] <= budget_ms]
    if not kept:
        least = min(range(len(names)), key=lambda path: own[path])
        raise RequestError(
            f"tune: no path is within the budget of {budget_ms:g} ms; the fastest, {names[least]!r}, takes "
            f"{own[least]:.3f} ms; raise budget_ms"
        )
    judge = Judge.of(lists, k)

    def equal_weights(paths: Sequence[int]) -> float:
        """The mean score of equal weights over some paths."""
        given = tuple(weight if path in paths else 0.0 for path, weight in enumerate(weights))
        return float(try_fixed("equal weights", FusionChoice(*EQUAL, given), judge).scores.mean())

    while (total := sum(own[path] for path in kept)) > budget_ms:
        free = [path for path in kept if names[path] not in required]
        if not free:
            raise RequestError(
                f"tune: the required paths take {total:.3f} ms, more than the budget of {budget_ms:g} ms; raise "
                "budget_ms, or require fewer paths"
            )
        whole = equal_weights(kept)
        loss = {path: whole - equal_weights([one for one in kept if one != path]) for path in free}
        kept.remove(min(free, key=lambda path: loss[path] / max(own[path], 1e-9)))
    return kept
