"""Logs at the edge of what a collaborative retriever can learn from."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from multirecall.data import Dataset
from multirecall.errors import CannotFit
from multirecall.progress import SILENT
from multirecall.registry import retriever_class
from multirecall.testing.worlds import queries

RETRIEVERS = ("als", "ease", "graph_filter", "next_item", "sequence", "user_cf")


def log(users: list[int], items: list[int], weight: float = 1.0) -> Dataset:
    frame = pl.DataFrame({"user_id": users, "item_id": items, "position": range(len(users))})
    return Dataset.from_frames(frame.with_columns(weight=pl.lit(weight)))


LOGS = {
    "one event": log([1], [7]),
    "one item": log([1, 2, 3, 3], [7, 7, 7, 7]),
    "one user": log([1, 1, 1], [7, 8, 9]),
    "nothing shared": log([1, 2, 3], [7, 8, 9]),
}

WEIGHTLESS = log([1, 1, 2, 2], [7, 8, 7, 9], weight=0.0)


def fit_path(name: str, data: Dataset, **params: Any) -> Any:
    plugin = retriever_class(name)
    path = plugin(plugin.Config.model_validate(params))
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    return path


@pytest.mark.parametrize("name", RETRIEVERS)
@pytest.mark.parametrize("data", LOGS.values(), ids=LOGS.keys())
def test_smallest_logs_are_served(name: str, data: Dataset) -> None:
    path = fit_path(name, data)
    for query in queries(data):
        ranked = path.retrieve(query, 10)
        assert np.isfinite(ranked.scores).all()
        assert np.isin(ranked.items, np.arange(data.n_items)).all()


@pytest.mark.parametrize("name", RETRIEVERS)
def test_log_without_any_weight_is_refused(name: str) -> None:
    with pytest.raises(CannotFit, match=f"{name}: no interaction weighs more than 0; raise the weights"):
        fit_path(name, WEIGHTLESS)


def test_sparse_ease_refuses_what_float32_cannot_solve() -> None:
    users, items = np.indices((50, 4)).reshape(2, -1)
    alike = log(users.tolist(), items.tolist(), weight=1e6)
    for form in ("exact", "sparse"):
        with pytest.raises(CannotFit, match="regularisation is too small for the log's weights; raise it"):
            fit_path("ease", alike, form=form)


def test_sparse_ease_on_items_alone() -> None:
    data = LOGS["nothing shared"]
    path = fit_path("ease", data, form="sparse")
    assert all(len(path.retrieve(query, 10)) == 0 for query in queries(data))
