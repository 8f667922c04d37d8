"""The rule by which an event counts for an answer: the newest one to its user before it."""

from __future__ import annotations

import polars as pl


def with_newest_answer(events: pl.DataFrame, answers: pl.DataFrame, within: float) -> pl.DataFrame:
    """The events that count for an answer, each with the columns of the newest answer to its user that is not later.

    Args:
        events: with `user` and `time`.
        answers: with `user`, `time`, and `answer`, which is never null.
        within: the longest time from an answer to an event, in the unit of `time`, which both have alike.

    Returns:
        The columns of both, `time` being that of the event, in the order of time.
    """
    return (
        events.sort("time")
        .join_asof(
            answers.sort("time"), on="time", by="user", strategy="backward", tolerance=within, check_sortedness=False
        )
        .drop_nulls("answer")
    )
