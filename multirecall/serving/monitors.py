"""What a deployment attaches to its engine: request log, explored slots, experiments, drift watch, adaptive width."""

from __future__ import annotations

from contextlib import ExitStack

from multirecall.engine import Engine
from multirecall.monitoring.drift import DriftWatch
from multirecall.monitoring.experiments import use_experiment
from multirecall.monitoring.request_log import RequestLog
from multirecall.serving.settings import ServeSettings


class Monitors:
    """What watches an engine, until it is closed.

    Attributes:
        log: the request log, or None.
        drift: the watch for drift, or None.

    Raises:
        ConfigError: the log cannot be written, its salt is missing, or an experiment does not go with the engine.
    """

    def __init__(self, engine: Engine, settings: ServeSettings) -> None:
        self.log = None if settings.log is None else RequestLog(settings.log)
        self._ends = ExitStack()
        if self.log is not None and settings.log is not None:
            self._ends.callback(self.log.close)
            self._ends.callback(engine.observe(self.log))
            if settings.log.explore is not None:
                engine.use_exploration(settings.log.explore)
                self._ends.callback(engine.use_exploration, None)
        self.drift = None if settings.drift is None else DriftWatch(engine, settings.drift)
        if self.drift is not None:
            self._ends.callback(engine.observe(self.drift))
        if settings.experiment:
            use_experiment(engine, settings.experiment)
            self._ends.callback(engine.use_variants, None)
        if settings.width is not None:
            engine.use_adaptive_width(settings.width)
            self._ends.callback(engine.use_adaptive_width, None)

    def close(self) -> None:
        """Take everything off the engine, and write what the log still holds."""
        self._ends.close()
