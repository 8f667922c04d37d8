"""More than one process or machine: what an engine does, shared out among workers. Ray is the extra `ray`."""
