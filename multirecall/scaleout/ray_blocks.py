"""Blocks of a fit, shared with actors of Ray."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from multirecall.blocks import Arrays, Bounds, Work, name_of, run_here, work_named

SHARES = 8
"""Groups of blocks for each process: enough to balance them, few enough that messages cost nothing."""


class RayBlocks:
    """A `multirecall.blocks.Runner`: actors with the method `blocks` do groups of blocks, and so does this process.

    Arrays go through Ray's object store, where the actors of a node read one copy. What an actor that ends had to do is
    done by another one or here.

    Args:
        actors: their handles; their processes have this package installed.
    """

    def __init__(self, actors: Sequence[Any]) -> None:
        self._idle = list(actors)

    def __call__(self, work: Work, arguments: Sequence[Any], bounds: Bounds, threads: int) -> Iterator[Arrays]:
        """See `multirecall.blocks.Runner`."""
        import ray

        kept = [ray.put(one) if isinstance(one, np.ndarray) else one for one in arguments]
        size = max(1, -(-len(bounds) // (SHARES * (len(self._idle) + 1))))
        groups = [list(bounds[first : first + size]) for first in range(0, len(bounds), size)]
        left, running, done = deque(range(len(groups))), {}, {}
        for number in range(len(groups)):
            while number not in done:
                while self._idle and left:
                    actor, group = self._idle.pop(), left.popleft()
                    running[actor.blocks.remote(name_of(work), groups[group], *kept)] = actor, group
                here = left.popleft() if left else None
                if here is not None:
                    done[here] = list(run_here(work, arguments, groups[here], threads))
                ready, _ = ray.wait(list(running), timeout=None if here is None else 0) if running else ([], [])
                for call in ready:
                    actor, group = running.pop(call)
                    try:
                        done[group] = ray.get(call)
                    except ray.exceptions.RayActorError:
                        left.appendleft(group)
                    else:
                        self._idle.append(actor)
            yield from done.pop(number)


def do_blocks(name: str, bounds: Bounds, *arguments: Any) -> list[Arrays]:
    """The results of the function of this name for some blocks, in an actor."""
    return list(run_here(work_named(name), arguments, bounds, 1))
