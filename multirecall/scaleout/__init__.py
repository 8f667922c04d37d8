"""More than one process or machine: what an engine does, shared out among workers. Ray is the extra `ray`."""

from multirecall.scaleout.batch import Written, write_candidates
from multirecall.scaleout.health import ShardHealth
from multirecall.scaleout.ray_fit import fit_on_ray
from multirecall.scaleout.sharded_engine import ShardedEngine
from multirecall.scaleout.split import PathSizes, ShardReport, shard_bundle

__all__ = [
    "PathSizes",
    "ShardHealth",
    "ShardReport",
    "ShardedEngine",
    "Written",
    "fit_on_ray",
    "shard_bundle",
    "write_candidates",
]
