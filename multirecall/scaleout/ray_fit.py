"""A fit by several processes that are actors of Ray, each of which runs the command line as torchrun would.

They train towers together. Neighbour lists are counted by the first, which shares blocks of items with the others.
"""

from __future__ import annotations

import io
import os
import runpy
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, redirect_stderr
from typing import Any, TextIO

from multirecall.blocks import Arrays, blocks_run_by
from multirecall.errors import ConfigError, ProcessLost
from multirecall.scaleout.cluster import joined_cluster
from multirecall.scaleout.ray_blocks import RayBlocks, do_blocks

GRACE_S = 10.0
"""How long the driver waits, after a process has failed, for what the others have to say about it."""


def fit_on_ray(arguments: Sequence[str], n_workers: int, address: str) -> None:
    """Run `multirecall fit` in actors that make one fit together; the first of them writes the bundle.

    Each has a CPU, and a GPU where the cluster has one for each. All read the same files, and take relative paths from
    the working directory of the caller, so that all nodes must see these under the same names.

    Args:
        arguments: those of `multirecall fit`.
        n_workers: the number of actors.
        address: of the cluster, as `ray.init` takes it.

    Raises:
        MissingExtra: Ray is not installed.
        RequestError: no cluster answers at the address.
        ConfigError: the cluster has fewer CPUs.
        ProcessLost: an actor has failed or ended; all others are ended too.
    """
    with joined_cluster(address, "fit --ray", show=True) as ray:
        resources = ray.cluster_resources()
        if (n_cpus := int(resources.get("CPU", 0))) < n_workers:
            raise ConfigError(f"--workers {n_workers}: the cluster has {n_cpus} CPUs; ask for fewer workers")
        options = {"num_cpus": 1, "num_gpus": int(resources.get("GPU", 0) >= n_workers)}
        actors = [ray.remote(**options)(_Rank).remote() for _ in range(n_workers)]
        try:
            host, port = ray.get(actors[0].meeting_point.remote())
            meeting = {"MASTER_ADDR": host, "MASTER_PORT": port, "WORLD_SIZE": str(n_workers)}
            runs = {
                actor.run.remote(
                    list(arguments),
                    {**meeting, "RANK": str(rank), "LOCAL_RANK": "0"},
                    os.getcwd(),
                    [] if rank else actors[1:],
                ): rank
                for rank, actor in enumerate(actors)
            }
            _see_through(ray, runs)
        finally:
            for actor in actors:
                ray.kill(actor)


def _see_through(ray: Any, runs: Mapping[Any, int]) -> None:
    """Wait until all runs, with their ranks, have ended well; raise what has failed as soon as one has not."""
    faults: dict[int, str] = {}
    pending = list(runs)
    while pending:
        done, pending = ray.wait(pending, num_returns=1, timeout=GRACE_S if faults else None)
        if not done:
            break
        try:
            said = ray.get(done[0])
        except ray.exceptions.RayError as fault:
            said = f"its actor ended: {fault}"
        if said:
            faults[runs[done[0]]] = said
    if faults:
        told = "; ".join(f"process {rank} of {len(runs)}: {said}" for rank, said in sorted(faults.items()))
        raise ProcessLost(f"the fit on Ray has failed, {told}")


class _Rank:
    """An actor that is one process of the fit."""

    def meeting_point(self) -> tuple[str, str]:
        """An address and a free port of this node, for the first process."""
        import ray

        host = ray.util.get_node_ip_address()
        with socket.socket() as probe:
            probe.bind((host, 0))
            return host, str(probe.getsockname()[1])

    def run(self, arguments: list[str], variables: dict[str, str], folder: str, others: list[Any]) -> str:
        """Run the command in this process; "" if it succeeds, else the end of what it wrote to standard error.

        Args:
            arguments: of `multirecall fit`.
            variables: the environment of a process of torchrun.
            folder: the working directory.
            others: actors that do blocks of this process's fit once their own commands have ended.
        """
        os.environ.update(variables)
        os.chdir(folder)
        sys.argv = ["multirecall", "fit", *arguments, "--distributed"]
        heard = _Heard(sys.stderr)
        with redirect_stderr(heard), blocks_run_by(RayBlocks(others)) if others else nullcontext():
            try:
                runpy.run_module("multirecall", run_name="__main__")
            except SystemExit as end:
                if end.code:
                    return heard.end() or f"exit status {end.code}"
        return ""

    def blocks(self, name: str, bounds: list[tuple[int, int]], *arguments: Any) -> list[Arrays]:
        """See `RayBlocks`."""
        return do_blocks(name, bounds, *arguments)


class _Heard(io.TextIOBase):
    """A stream that passes text on and remembers it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._text = io.StringIO()

    def write(self, text: str) -> int:
        """Pass it on."""
        self._text.write(text)
        return self._stream.write(text)

    def flush(self) -> None:
        """Pass it on."""
        self._stream.flush()

    def end(self) -> str:
        """The last line that has letters."""
        lines = [line for line in self._text.getvalue().splitlines() if any(map(str.isalpha, line))]
        return lines[-1] if lines else ""
