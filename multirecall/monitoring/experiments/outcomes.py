"""What users did after the answers that they got: answers of a log joined with later events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multirecall.errors import DataError
from multirecall.monitoring.newest_answer import with_newest_answer

ANSWERS = {
    "request_id": "the id",
    "time": "epoch seconds",
    "user": "the id",
    "arm": "its name",
    "items": "a list of ids",
}
"""The columns of answers. `team` may be there too: a list of 0, 1 or -1 for each item of an interleaved answer."""

METRICS = {
    "hit_rate": "share of answers of which the user took an item",
    "recall": "share of what the user took next that was in the answer, mean over answers that events followed",
    "events_per_day": "events of a user by day, from the first answer to the last event of the log",
}
"""The metrics of an experiment and what they mean."""

DAY = 86_400.0


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """What the users of one arm did. Each array has a value for each user.

    Attributes:
        requests: the number of answers, int64 (n_users,).
        sums: for each metric the numerator and the denominator, float64 (n_users,) each: the metric is the ratio of
            their sums.
        credits: the taken items that each side of an interleaved arm drafted, float64 (n_users, 2).
    """

    requests: NDArray[np.int64]
    sums: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
    credits: NDArray[np.float64]

    @property
    def users(self) -> int:
        """The number of users."""
        return self.requests.size


_NONE = np.empty(0)
NOBODY = Outcomes(np.empty(0, np.int64), dict.fromkeys(METRICS, (_NONE, _NONE)), np.empty((0, 2)))
"""The outcomes of an arm without users."""


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """The outcomes by arm.

    Attributes:
        arms: the outcomes of each arm of which an answer is there.
        unidentified: answers to users without an id, who are left out: no event is known to be theirs.
        unjudged: answers after the last event, which are left out.
        moved: users who got answers of several arms, and are left out.
    """

    arms: dict[str, Outcomes]
    unidentified: int
    unjudged: int
    moved: int


def join_events(answers: pl.DataFrame, events: pl.DataFrame, k: int | None, within: float) -> Joined:
    """Join answers with what their users did later.

    An event belongs to an answer as `with_newest_answer` says. So each event counts for one answer; an item that is
    taken several times after it counts once.

    Args:
        answers: with the columns of `ANSWERS`.
        events: `user_id`, `item_id` and `timestamp` in epoch seconds.
        k: how many items of an answer count; None: all.
        within: seconds.

    Raises:
        DataError: a column is missing, or no answer can be judged.
    """
    _require(answers, ANSWERS, "answers")
    _require(events, ("user_id", "item_id", "timestamp"), "events")
    end = events["timestamp"].max()
    known = answers.filter(pl.col("user").is_not_null())
    judged = known.filter(pl.col("time") <= end) if end is not None else known.clear()
    if judged.is_empty():
        raise DataError(
            f"no answer can be judged: of {answers.height:,} answers {known.height:,} are to users with an id, and "
            "none of these is older than the last event; pass later events"
        )
    moved = judged.group_by("user").agg(pl.col("arm").n_unique() > 1).filter("arm")
    judged = judged.join(moved, on="user", how="anti").sort("time").with_row_index("answer")
    followed = _followed(judged, events, k, within)
    first = judged.group_by("user").agg(pl.col("time").min().alias("first"))
    later = (
        events.join(first, left_on="user_id", right_on="user")
        .filter(pl.col("timestamp") > pl.col("first"))
        .group_by(pl.col("user_id").alias("user"))
        .agg(events=pl.len())
    )
    by_user = (
        judged.join(followed, on="answer", how="left", maintain_order="left")
        .with_columns(pl.col("taken", "hits", "first_team", "second_team").fill_null(0))
        .group_by("user", maintain_order=True)
        .agg(
            pl.col("arm").first(),
            requests=pl.len().cast(pl.Int64),
            hit=(pl.col("hits") > 0).sum(),
            found=(pl.col("hits") / pl.col("taken")).filter(pl.col("taken") > 0).sum(),
            followed=(pl.col("taken") > 0).sum(),
            days=(end - pl.col("time").min()) / DAY,
            first_team=pl.col("first_team").sum(),
            second_team=pl.col("second_team").sum(),
        )
        .join(later, on="user", how="left", maintain_order="left")
        .with_columns(pl.col("events").fill_null(0))
    )
    arms = {str(arm): _outcomes_of(own) for (arm,), own in by_user.group_by("arm", maintain_order=True)}
    return Joined(arms, answers.height - known.height, known.filter(pl.col("time") > end).height, moved.height)


def _followed(answers: pl.DataFrame, events: pl.DataFrame, k: int | None, within: float) -> pl.DataFrame:
    """For each answer that something followed: the items that were taken, those that were in it, and by team."""
    happened = events.select(user="user_id", time="timestamp", item="item_id")
    taken = (
        with_newest_answer(happened, answers.select("answer", "user", "time"), within)
        .select("answer", "item")
        .unique(maintain_order=True)
    )
    columns = ["items"] if "team" not in answers.columns else ["items", "team"]
    shown = answers.select("answer", *columns).join(taken.select("answer").unique(), on="answer", how="semi")
    if k is not None:
        shown = shown.with_columns(pl.col(columns).list.head(k))
    if "team" not in columns:
        shown = shown.with_columns(team=pl.lit(None, pl.List(pl.Int8)))
    drafted = shown["team"].is_not_null()
    shown = pl.concat(
        [
            shown.filter(drafted).explode("items", "team"),
            shown.filter(~drafted).explode("items").with_columns(team=pl.lit(None, pl.Int8)),
        ]
    )
    return (
        taken.join(shown.with_columns(found=True), left_on=["answer", "item"], right_on=["answer", "items"], how="left")
        .group_by("answer")
        .agg(
            taken=pl.len().cast(pl.Int64),
            hits=pl.col("found").is_not_null().sum().cast(pl.Int64),
            first_team=(pl.col("team") == 0).sum().cast(pl.Int64),
            second_team=(pl.col("team") == 1).sum().cast(pl.Int64),
        )
    )


def _outcomes_of(users: pl.DataFrame) -> Outcomes:
    def column(name: str) -> NDArray[np.float64]:
        return users[name].cast(pl.Float64).to_numpy()

    sums = {
        "hit_rate": (column("hit"), column("requests")),
        "recall": (column("found"), column("followed")),
        "events_per_day": (column("events"), column("days")),
    }
    credit = np.stack([column("first_team"), column("second_team")], axis=1)
    return Outcomes(users["requests"].to_numpy(), sums, credit)


def _require(frame: pl.DataFrame, columns: Sequence[str] | dict[str, Any], what: str) -> None:
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise DataError(f"{what}: no column {missing[0]!r}; known: {', '.join(frame.columns)}")
