"""Reference tables of the docs: the settings of configurations, and the options of commands."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import typer
from _tables import table
from pydantic import BaseModel

from multirecall.cli import app
from multirecall.config import EngineConfig
from multirecall.data import DataConfig
from multirecall.engine.width import AdaptiveWidth
from multirecall.evaluation import EXPLAINED
from multirecall.monitoring.drift import DriftSettings
from multirecall.monitoring.experiments import ExperimentSettings
from multirecall.monitoring.refresh import Guard
from multirecall.monitoring.request_log import LogSettings
from multirecall.plugins import PluginGroup
from multirecall.registry import GROUPS, listings
from multirecall.serving import ServeSettings
from multirecall.settings import settings_of
from multirecall.tuning import TuningConfig


def _config_of(group: PluginGroup, name: str) -> type[BaseModel]:  # type: ignore[type-arg]
    return group.load(name).Config  # type: ignore[no-any-return]


CONFIGS: dict[str, Callable[[], type[BaseModel]]] = {
    "data": lambda: DataConfig,
    "drift": lambda: DriftSettings,
    "engine": lambda: EngineConfig,
    "log": lambda: LogSettings,
    "experiment": lambda: ExperimentSettings,
    "refit": lambda: Guard,
    "serve": lambda: ServeSettings,
    "tuning": lambda: TuningConfig,
    "width": lambda: AdaptiveWidth,
    **{name: partial(_config_of, group, name) for group in GROUPS for name in group.names()},
}
"""The configurations that a page may show, by name; a plug-in's goes by the plug-in's."""


def settings(name: str) -> str:
    """A row for each setting of a configuration."""
    rows = [
        [f"`{one.name}`", one.type, f"`{one.default}`" if one.default else "", _range(one.range), one.meaning]
        for one in settings_of(CONFIGS[name]())
    ]
    return table(["setting", "type", "default", "range", "meaning"], [list(map(_cell, row)) for row in rows], "---")


def command(name: str) -> str:
    """A row for each argument and option of a command."""
    found: Any = typer.main.get_command(app)
    for word in name.split():
        found = found.commands[word]
    rows = []
    for one in found.params:
        if one.param_type_name == "argument":
            rows.append([f"`{one.name}`", "" if not one.required else "needed", one.help or ""])
        else:
            spelt = ", ".join(f"`{word}`" for word in [*one.opts, *one.secondary_opts])
            default = "needed" if one.required else _default(one.default)
            rows.append([spelt, default, one.help or ""])
    return table(["option", "default", "meaning"], [list(map(_cell, row)) for row in rows], "---")


def _default(value: object) -> str:
    return "" if value is None or value is False or value == () else f"`{value}`"


def metrics() -> str:
    """A row for each metric of an evaluation."""
    return table(["metric", "says"], [[f"`{name}`", meaning] for name, meaning in EXPLAINED.items()], "---")


def threads() -> str:
    """What several threads do to the fit of each retriever that has a setting for them."""
    said = {"same bits": "the same to the bit", "other bits": "another one each time, unless it is 1"}
    rows = [[f"`{one.name}`", said[one.threads]] for one in listings() if one.threads]
    return table(["retriever", "its result on a number of threads"], rows, "---")


def _range(text: str) -> str:
    """A range, with a pattern set as code."""
    return re.sub(r"(?<=of the form )\S+", r"`\g<0>`", text)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
