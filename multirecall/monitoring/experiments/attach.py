"""Attaching experiments to an engine."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

from multirecall.config import EngineConfig
from multirecall.engine import Engine
from multirecall.errors import MultirecallError
from multirecall.monitoring.experiments.arms import variants_of
from multirecall.monitoring.experiments.assignment import Assignment
from multirecall.monitoring.experiments.settings import ExperimentSettings, check_experiments
from multirecall.user import User
from multirecall.vocabulary import Id

_log = logging.getLogger("multirecall.monitoring")


def use_experiment(engine: Engine, settings: ExperimentSettings | Sequence[ExperimentSettings] | None) -> None:
    """Assign the users of an engine to the arms of experiments, from the next request on; None: end them.

    An answer says in `Candidates.variant` which arm the user has, as `EXPERIMENT:ARM`; users who take no part get the
    engine's own settings and None. An arm is the config that the engine serves with what the arm changes. When a
    refresh, or a bundle that is followed, brings another learned fusion, the first request after it makes the arms
    anew; those that run meanwhile get the arms of before.

    Args:
        engine: has something to serve.
        settings: one experiment or several.

    Raises:
        ConfigError: an arm names no path of the engine or has a wrong value, or the experiments do not go together.
        PluginError: a fusion is unknown or broken.
        NotFitted: the engine has nothing to serve.
    """
    if settings is None:
        engine.use_variants(None)
        return
    _Experiments(engine, check_experiments(settings)).attach(_served(engine))


class _Experiments(Assignment):
    """Assigns users, and makes the arms anew when the engine serves another config."""

    def __init__(self, engine: Engine, experiments: Sequence[ExperimentSettings]) -> None:
        super().__init__(experiments)
        self._engine, self._experiments = engine, experiments
        self._made_of: tuple[object, object] = (None, None)
        self._lock = Lock()

    def attach(self, config: EngineConfig) -> None:
        self._made_of = (self._engine.config, self._engine.fusion_report())
        self._engine.use_variants(self, variants_of(config, self._engine.paths, self._experiments))

    def choose(self, user: Id | User, context: Mapping[str, Any], request_id: str) -> str | None:
        if self._is_other and self._lock.acquire(blocking=False):
            try:
                self.attach(_served(self._engine))
            except MultirecallError as fault:
                _log.warning("experiment: the arms stay as they were, for they do not go with the new fit: %s", fault)
            finally:
                self._lock.release()
        return super().choose(user, context, request_id)

    @property
    def _is_other(self) -> bool:
        """Whether the engine serves another config than the arms are made of."""
        config, report = self._made_of
        return self._engine.config is not config or self._engine.fusion_report() is not report


def _served(engine: Engine) -> EngineConfig:
    """The config that an engine serves: what a fit has learned is in it."""
    report = engine.fusion_report()
    return engine.config if report is None else report.settle(engine.config)
