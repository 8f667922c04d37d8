"""Blocks of a fit, shared with actors of Ray."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from multirecall.blocks import Arrays, Bounds, Work, name_of, run_here, work_named

SHARES = 8
"""Groups of blocks for each process: enough to balance them, few enough that messages cost nothing."""


class RayBlocks:
    """A `multirecall.blocks.Runner`: actors with the method `blocks` do groups of blocks, and so does this process.

    Arrays go through Ray's object store, where the actors of a node read one copy. This process never waits for an
    actor, which may have to wait for this process: a group that is missing when all are given away is done here too,
    and the first result counts.

    Args:
        actors: their handles; their processes have this package installed.
    """

    def __init__(self, actors: Sequence[Any]) -> None:
        self._idle = list(actors)
        self._running: dict[Any, tuple[Any, _Job, int]] = {}

    def __call__(self, work: Work, arguments: Sequence[Any], bounds: Bounds, threads: int) -> Iterator[Arrays]:
        """See `multirecall.blocks.Runner`."""
        import ray

        kept = [ray.put(one) if isinstance(one, np.ndarray) else one for one in arguments]
        n_processes = len(self._idle) + len(self._running) + 1
        size = max(1, -(-len(bounds) // (SHARES * n_processes)))
        groups = [list(bounds[first : first + size]) for first in range(0, len(bounds), size)]
        job = _Job(deque(range(len(groups))))
        for number in range(len(groups)):
            while number not in job.done:
                self._collect(ray)
                while self._idle and job.left:
                    actor, group = self._idle.pop(), job.left.popleft()
                    self._running[actor.blocks.remote(name_of(work), groups[group], *kept)] = actor, job, group
                if number not in job.done:
                    here = job.left.popleft() if job.left else number
                    job.done[here] = list(run_here(work, arguments, groups[here], threads))
            yield from job.done[number]
            job.done[number] = []

    def _collect(self, ray: Any) -> None:
        """Take the results that have come, those of former jobs among them."""
        ready = ray.wait(list(self._running), num_returns=len(self._running), timeout=0)[0] if self._running else []
        for call in ready:
            actor, job, group = self._running.pop(call)
            try:
                found = ray.get(call)
            except ray.exceptions.RayActorError:
                continue  # the group is missing, and so is done here
            job.done.setdefault(group, found)
            self._idle.append(actor)


@dataclass(slots=True, eq=False)
class _Job:
    """The groups of one call: those that nobody has begun, and the results of the others by their numbers."""

    left: deque[int]
    done: dict[int, list[Arrays]] = field(default_factory=dict)


def do_blocks(name: str, bounds: Bounds, *arguments: Any) -> list[Arrays]:
    """The results of the function of this name for some blocks, in an actor."""
    return list(run_here(work_named(name), arguments, bounds, 1))
