"""Files as other systems write them, for the ids of a data set, and whether a path answers as such a system does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multirecall.data import Dataset
from multirecall.lists import RankedList
from multirecall.query import Query
from multirecall.testing.worlds import queries


def adapter_params(folder: Path, data: Dataset) -> dict[str, dict[str, Any]]:
    """The settings that adapters cannot do without, by the name of the retriever; writes the files that they name."""
    model = folder / "model.npz"
    rng, sizes = np.random.default_rng(1), {"user": data.n_users, "item": data.n_items}
    factors: dict[str, Any] = {f"{what}_factors": rng.random((n, 3)) for what, n in sizes.items()}
    np.savez(model, **factors)
    write_tower(folder / "tower.onnx")
    numbered = write_numbers(folder / "numbers.parquet", "item_id", data)
    return {
        "onnx": {
            "model": str(folder / "tower.onnx"),
            "items": write_vectors(folder / "towards.parquet", "item_id", data),
            "item_index": numbered,
            "inputs": {"history": "history"},
            "history": 4,
        },
        "http": {"endpoint": "nowhere"},
        "implicit": {"model": str(model)},
        "lists": {"file": write_lists(folder / "lists.parquet", "item_id", data)},
        "vectors": {"items": write_vectors(folder / "items.parquet", "item_id", data)},
    }


def thousand_users() -> Dataset:
    """1,000 users in four groups and 120 items; some events are repeated."""
    n_users, n_items = 1_000, 120
    rng = np.random.default_rng(8)
    users = rng.integers(0, n_users, 16_000)
    items = (rng.zipf(1.3, 16_000) + 30 * (users % 4)) % n_items
    every = pl.DataFrame({"user_id": np.arange(n_users), "item_id": np.arange(n_users) % n_items})
    return Dataset.from_frames(pl.concat([pl.DataFrame({"user_id": users, "item_id": items}), every]))


def ask_for_new_items(data: Dataset) -> list[Query]:
    """A query for each user, without the items of their history, whose order is of no account."""
    return [
        Query(query.user, query.history, query.weights, ordered=False, exclude=np.unique(query.history))
        for query in queries(data)[: data.n_users]
    ]


def assert_same_above_every_tie(ours: RankedList, items: NDArray[Any], scores: NDArray[Any], k: int = 20) -> None:
    """Equal scores, equal sets of items above each score that is clearly lower than the one before, ties by item row.

    Args:
        ours: the answer to a request for `k` items.
        items: the item rows of the other system, best first; more than `k` of them, so that a tie at the end is seen.
        scores: their scores.
        k: the number of items that were asked for.
    """
    n = len(ours)
    assert n == min(k, items.size)
    largest = np.abs(scores).max(initial=1e-9)
    np.testing.assert_allclose(ours.scores, scores[:n], rtol=1e-5, atol=1e-6 * largest)
    for place in range(1, n + 1):
        if place < items.size and scores[place - 1] - scores[place] > 4e-6 * largest:
            assert set(ours.items[:place].tolist()) == set(items[:place].tolist())
    assert (np.lexsort((ours.items, -ours.scores)) == np.arange(n)).all()


def some_ids(column: str, data: Dataset) -> list[Any]:
    """The ids of the items or users of the small shop, and of 8 more who may join later."""
    holds_text = data.items.ids.holds_text
    return [f"{column[0]}{number}" if holds_text else number for number in range(73 if column == "item_id" else 50)]


def write_vectors(
    file: Path, column: str, data: Dataset, vectors: NDArray[Any] | None = None, ids: list[Any] | None = None
) -> str:
    """Write a table of ids and vectors, drawn at random unless given; the name of the file."""
    ids = some_ids(column, data) if ids is None else ids
    if vectors is None:
        vectors = np.random.default_rng(len(column)).standard_normal((len(ids), 6))
    pl.DataFrame({column: ids, "vector": vectors.tolist()}).write_parquet(file)
    return str(file)


def write_lists(file: Path, key: str, data: Dataset, pairs: list[tuple[Any, Any, float]] | None = None) -> str:
    """Write a table of lists, of users or of items, drawn at random unless given; the name of the file."""
    if pairs is None:
        rng, items = np.random.default_rng(2), some_ids("item_id", data)
        drawn = [(one, rng.choice(len(items), 20, replace=False)) for one in some_ids(key, data)]
        pairs = [
            (one, items[place], float(score))
            for one, few in drawn
            for place, score in zip(few, rng.random(20), strict=True)
        ]
    columns = [key, "item_id" if key == "user_id" else "neighbour_id", "score"]
    pl.DataFrame(pairs, schema=columns, orient="row").write_parquet(file)
    return str(file)


def write_numbers(file: Path, key: str, data: Dataset) -> str:
    """Write the numbers 1, 2, … of a model for ids, in another order than that of the ids; the name of the file."""
    ids = some_ids(key, data)[::-1]
    pl.DataFrame({key: ids, "index": range(1, len(ids) + 1)}).write_parquet(file)
    return str(file)


def table_of(dim: int = 6, n: int = 74) -> NDArray[np.float32]:
    """The embeddings of `write_tower`; that of 0, the padding, is zero."""
    table = np.random.default_rng(9).standard_normal((n, dim)).astype(np.float32)
    table[0] = 0
    return table


def write_tower(file: Path) -> None:
    """Write a tower that sums the embeddings of a history: input `history` (users, L), output `vector` (users, 6)."""
    from onnx import TensorProto, helper, numpy_helper, save

    save(
        tower_model(
            [helper.make_tensor_value_info("history", TensorProto.INT64, ["users", "L"])],
            [
                helper.make_node("Gather", ["table", "history"], ["each"]),
                helper.make_node("ReduceSum", ["each", "axis"], ["vector"], keepdims=0),
            ],
            [numpy_helper.from_array(table_of(), "table"), numpy_helper.from_array(np.array([1]), "axis")],
        ),
        str(file),
    )


def tower_model(inputs: list[Any], nodes: list[Any], weights: list[Any], shape: tuple[Any, ...] = ("users", 6)) -> Any:
    """A model in ONNX with an output `vector`."""
    from onnx import TensorProto, helper

    output = helper.make_tensor_value_info("vector", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "tower", inputs, [output], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_object_npy(file: Path) -> None:
    """An npy file that says it holds Python objects, behind a header as numpy writes it."""
    with file.open("wb") as stream:
        header: dict[str, Any] = {"descr": "|O", "fortran_order": False, "shape": (1, 1)}
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(b"\x80\x04}\x94.")
