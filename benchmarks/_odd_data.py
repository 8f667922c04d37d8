"""Logs and tables that hardly anybody has, and what must hold of a path that is fitted on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
from _odd_changes import LONG, ODD_VALUES, REFIT_S, RETRIEVERS

from multirecall import Engine, EngineConfig, User
from multirecall.data import Dataset, Kind
from multirecall.data.read_change import FORMS
from multirecall.errors import CannotFit

N = 30
START = 1_700_000_000
KINDS: dict[str, Kind] = {
    "title": "text",
    "group": "categorical",
    "tags": "list",
    "price": "number",
    "arrival": "datetime",
}


def odd_data() -> dict[str, Dataset]:
    """Datasets that are accepted, by what is odd about them."""
    plain = log(range(N), [number % 7 for number in range(N)])
    numbers = [1e308, -1e308, 5e-324, 0.0, None]
    long_texts = [title.replace("\ud83d", "").replace("\udc00", "") for title in ODD_VALUES["title"] if title]
    return {
        "one event": read(log([0], [0])),
        "one item": read(log(range(N), [0] * N)),
        "one user": read(log([0] * N, range(N))),
        "one event a user": read(log(range(N), range(N))),
        "one item again and again": read(log([0] * 3_000 + [1], [0] * 3_000 + [1])),
        "no weight": read(log(range(N), range(N)).with_columns(weight=pl.lit(0.0))),
        "one weight": read(plain.with_columns(weight=pl.Series([1.0] + [0.0] * (N - 1)))),
        "weights far apart": read(plain.with_columns(weight=pl.Series([1e9, 1e-30, 1.0] * (N // 3)))),
        "no order": read(plain.drop("timestamp")),
        "nothing but nulls": read(plain, {field: [None] * 7 for field in KINDS}, 7),
        "empty texts": read(plain, {"title": ["", " ", "...", None, "\u0301", "\u200b", "-"]}, 7),
        "odd texts": read(plain, {"title": long_texts}, len(long_texts)),
        "numbers far apart": read(plain, {"price": numbers, "arrival": [0.0, 9e10, -6e10, None, None]}, 5),
        "one number": read(plain, {"price": [1e308] * 7}, 7),
        "many tags": read(plain, {"tags": [[f"t{tag}" for tag in range(5_000)], [], None, ["t1"] * 9]}, 4),
        "long categories": read(
            plain, {"group": [LONG[:256], "", "\u200b", None], "tags": [[LONG[:256]], [""], [], None]}, 4
        ),
    }


def log(users: Any, items: Any) -> pl.DataFrame:
    """Events a second apart."""
    frame = pl.DataFrame({"user_id": list(users), "item_id": list(items)})
    return frame.with_columns(timestamp=pl.int_range(START, START + frame.height))


def read(events: pl.DataFrame, features: dict[str, Any] | None = None, n: int = 0) -> Dataset:
    """The log with an item table of `n` items, whose features the users have as well."""
    if features is None:
        return Dataset.from_frames(events)
    kinds = {field: KINDS[field] for field in features}
    table = pl.DataFrame(features, schema={field: FORMS[kind] for field, kind in kinds.items()})
    people = table.with_columns(user_id=pl.int_range(n)).rename({field: f"own_{field}" for field in features})
    kinds |= {f"own_{field}": kind for field, kind in kinds.items()}
    return Dataset.from_frames(events, table.with_columns(item_id=pl.int_range(n)), people, kinds=kinds)


def bear_odd_data(retriever: str, what: str, data: Dataset, folder: Path) -> bool:
    """Whether the path can be fitted; where it can, it must answer, be saved and loaded, and take what joins."""
    params = {key: value for key, value in RETRIEVERS[retriever].items() if key not in ("segment", "jaccard")}
    config = EngineConfig.model_validate({"k": 5, "paths": [{"retriever": retriever, "params": params}]})
    try:
        engine = Engine(config).fit(data)
    except CannotFit as fault:
        if f"{retriever}: " not in str(fault):
            raise AssertionError(f"{what}: the error does not name {retriever}: {fault}") from None
        return False
    with engine:
        prove(engine, f"fitted on {what}")
        engine.save(folder)
    with Engine.load(folder) as engine:
        prove(engine, f"loaded, fitted on {what}")
        engine.refresh().result(REFIT_S)
        prove(engine, f"fitted on {what} again")
    return True


def prove(engine: Engine, when: str) -> None:
    """What must hold: the path answers, and takes new events."""
    event = {"user_id": 0, "item_id": 99, "timestamp": START + 9 * N}
    present = {"timestamp"} if engine.data.log.base.times is not None else set()
    engine.add_interactions([{key: value for key, value in event.items() if key in {"user_id", "item_id", *present}}])
    users = [User(0), User(5), User(), User(history=[0, 99])]
    states = [engine.retrieve(user, seen=True).status for user in users] + [engine.retrieve_batch(users).status]
    for name, health in engine.health().paths.items():
        if health.stale is not None or any(status[name].state != "ok" for status in states):
            raise AssertionError(f"{name} {when}: {health.stale or health.last_fault}")
