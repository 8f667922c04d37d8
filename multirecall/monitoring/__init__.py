"""What tells whether an engine still works next month: a request log, replay, experiments, drift, a guarded refresh."""
