"""More than one process or machine: what an engine does, shared out among workers. Ray is the extra `ray`."""

from multirecall.scaleout.batch import Written, write_candidates

__all__ = ["Written", "write_candidates"]
