"""The answers of an experiment from a request log, and what users did later, under the same names of users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from multirecall.data import Dataset
from multirecall.errors import DataError, RequestError
from multirecall.monitoring.experiments.assignment import arms_in
from multirecall.monitoring.experiments.settings import ArmSettings, ExperimentSettings
from multirecall.monitoring.request_log.layout import parts_of
from multirecall.monitoring.request_log.parts import read_part
from multirecall.monitoring.request_log.table_reader import TableReader
from multirecall.monitoring.request_log.user_names import UserNames, refuse_foreign
from multirecall.validation import nearest

COLUMNS = ["id", "time", "user", "salt", "visitor", "variant", "catalogue", "late", "items", "team"]


@dataclass(frozen=True, slots=True, eq=False)
class Logged:
    """The answers of an experiment.

    Attributes:
        name: of the experiment.
        answers: as `join_events` takes them.
        arms: the names of the arms, sorted; an interleaved one with True.
    """

    name: str
    answers: pl.DataFrame
    arms: dict[str, bool]

    def settings(self, control: str | None) -> ExperimentSettings:
        """What the log alone says of the settings: the arms, as if they had equal shares.

        Raises:
            RequestError: there is no such arm to compare with.
        """
        plain = [name for name, interleaves in self.arms.items() if not interleaves]
        if control is not None and control not in plain:
            raise RequestError(f"control: no arm of {self.name!r} is named {control!r}; {nearest(control, plain)}")
        share = 1 / len(self.arms)
        arms = [ArmSettings(name=name, share=share) for name in plain]
        if len(plain) < len(self.arms):
            arms += [ArmSettings(name=side, share=0) for side in ("first-side", "second-side")]
            sides = ("first-side", "second-side")
            arms += [ArmSettings(name=name, share=share, interleaves=sides) for name, both in self.arms.items() if both]
        return ExperimentSettings(name=self.name, arms=tuple(arms), control=control)


def read_answers(folder: Path, experiment: str | None, k: int | None, salts: Sequence[UserNames]) -> Logged:
    """The answers of an experiment.

    Args:
        folder: of the request log.
        experiment: its name; None: the only one of the log.
        k: how many items of each answer are read; None: all.
        salts: under which users of the log are hashed.

    Raises:
        DataError: the folder is no request log, a part or table cannot be read, or no answer is of the experiment.
        ConfigError: a salt is missing.
        RequestError: the log has several experiments, and none is named.
    """
    tables, frames = TableReader(folder), []
    for file in parts_of(folder):
        part = read_part(file, COLUMNS)
        if part is not None:
            frames.append(_shorten(part.filter(pl.col("variant").is_not_null()), k))
            refuse_foreign(part, (UserNames(), *salts), file)
    rows = pl.concat(frames) if frames else pl.DataFrame()
    names: dict[str, dict[str, str]] = {}
    for variant in rows["variant"].unique().sort().to_list() if rows.width else ():
        for name, arm in arms_in(variant):
            names.setdefault(name, {})[variant] = arm
    if not names:
        raise DataError(f"{folder}: no answer of the log is of an experiment; attach one with use_experiment")
    if experiment is None and len(names) > 1:
        raise RequestError(f"experiment: the log has {', '.join(sorted(names))}; name one of them")
    name = next(iter(names)) if experiment is None else experiment
    if name not in names:
        raise DataError(f"{folder}: no answer is of experiment {name!r}; {nearest(name, names)}")
    own = rows.filter(pl.col("variant").is_in(list(names[name])))
    answers = pl.concat([_with_ids(part, tables) for part in own.partition_by("catalogue", "late")]).select(
        pl.col("id").alias("request_id"),
        pl.col("time").dt.epoch("us") / 1e6,
        pl.when(~pl.col("visitor").fill_null(False)).then("user").alias("user"),
        pl.col("variant").replace_strict(names[name]).alias("arm"),
        "items",
        "team",
    )
    drafted = answers.group_by("arm").agg(pl.col("team").list.max().max() >= 0).sort("arm")
    return Logged(name, answers, {arm: bool(both) for arm, both in drafted.iter_rows()})


def events_of(events: Dataset, salts: Sequence[UserNames]) -> pl.DataFrame:
    """Events as `join_events` takes them, under each name that the log may have for their users.

    Raises:
        DataError: they have no timestamps.
    """
    log = events.interactions
    if log.times is None:
        raise DataError("events: they have no timestamps, so none is later than an answer; add the column")
    counts = log.weights > 0
    users, ids = log.users[counts], events.users.ids.ids().tolist()
    micros = 0 if log.micros is None else log.micros[counts]
    frame = pl.DataFrame(
        {"item_id": events.items.ids.ids()[log.items[counts]], "timestamp": log.times[counts] + micros / 1e6}
    )
    named = [np.array([one.name(user) for user in ids], object)[users] for one in (UserNames(), *salts)]
    return pl.concat([frame.with_columns(user_id=pl.Series(names.tolist(), dtype=pl.String)) for names in named])


def _shorten(part: pl.DataFrame, k: int | None) -> pl.DataFrame:
    return part if k is None else part.with_columns(pl.col("items", "team").list.head(k))


def _with_ids(part: pl.DataFrame, tables: TableReader) -> pl.DataFrame:
    """The same with item ids in place of item rows."""
    ids = pl.Series(tables.ids(part["catalogue"][0], part["late"][0]))
    flat = part.with_row_index("row").select("row", "items").explode("items", empty_as_null=False)
    lists = flat.with_columns(items=ids.gather(flat["items"])).group_by("row", maintain_order=True).agg("items")
    return (
        part.drop("items")
        .with_row_index("row")
        .join(lists, on="row", how="left", maintain_order="left")
        .with_columns(pl.col("items").fill_null(pl.lit([], pl.List(ids.dtype))))
    )
