"""The process group of a fit by several processes, as torchrun describes it in the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from multirecall.errors import ConfigError, ProcessLost
from multirecall.extras import import_extra

LIMIT = timedelta(minutes=30)
"""How long a process waits for one that lives and does not answer. One that ends is noticed at once."""

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@contextmanager
def joined_processes() -> Iterator[int]:
    """Join the process group of the environment for the block, and give the rank of this process, from 0.

    CPUs exchange tensors through gloo, GPUs through nccl. A process uses the GPU with the number `LOCAL_RANK`.

    Raises:
        MissingExtra: torch is not installed.
        ConfigError: the environment describes no process group.
        ProcessLost: the others do not come.
    """
    import_extra("torch", "fitting in several processes")
    import torch
    from torch import distributed

    missing = [name for name in VARIABLES if name not in os.environ]
    if missing:
        raise ConfigError(
            f"the variable {missing[0]} is not set, which torchrun sets for each process; start the command with "
            "torchrun --nproc-per-node 2 -m multirecall fit … --distributed"
        )
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if has_gpu else "gloo", timeout=LIMIT)
    except (RuntimeError, ValueError) as fault:
        raise ProcessLost(f"the processes do not meet at MASTER_ADDR and MASTER_PORT: {fault}") from fault
    try:
        yield distributed.get_rank()
    finally:
        distributed.destroy_process_group()
