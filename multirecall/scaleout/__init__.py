"""More than one process or machine: what an engine does, shared out among workers. Ray is the extra `ray`."""

from multirecall.scaleout.batch import Written, write_candidates
from multirecall.scaleout.ray_fit import fit_on_ray

__all__ = ["Written", "fit_on_ray", "write_candidates"]
