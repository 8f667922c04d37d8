"""An ONNX tower as a path: what its inputs get, what other libraries export, and what a stranger's model may not do."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
from foreign import (
    adapter_params,
    assert_same_above_every_tie,
    table_of,
    tower_model,
    write_numbers,
    write_vectors,
)
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, save
from onnxruntime import InferenceSession, SessionOptions

from multirecall import Engine, EngineConfig, User
from multirecall.data import Dataset
from multirecall.errors import BundleError, DataError, MissingExtra
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.retrievers.adapters.onnx import OnnxConfig, OnnxTower
from multirecall.testing import RetrieverContract, small_shop

MODELS = Path(__file__).resolve().parents[1] / "data" / "onnx"


def fit_path(data: Dataset, **params: Any) -> OnnxTower:
    path = OnnxTower(OnnxConfig.model_validate(params))
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    return path


def query(history: Sequence[int] | NDArray[np.int32], **changed: Any) -> Query:
    rows = np.array(history, np.int32)
    return Query(**{"user": -1, "history": rows, "weights": np.ones(rows.size, np.float32), **changed})


class TestTower(RetrieverContract):
    retriever = OnnxTower
    score_tolerance = 1e-5
    folder: ClassVar[Path]

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        type(self).folder = tmp_path_factory.mktemp("tower")

    def fit(self, data: Dataset, seed: int = 5) -> OnnxTower:
        type(self).params = adapter_params(self.folder, data)["onnx"]
        path = super().fit(data, seed)
        assert isinstance(path, OnnxTower)
        return path


@pytest.fixture
def params(tmp_path: Path) -> dict[str, Any]:
    return adapter_params(tmp_path, small_shop())["onnx"]


def test_scores_are_those_of_the_model(params: dict[str, Any]) -> None:
    data = small_shop()
    path = fit_path(data, **params)
    numbers = dict(zip(*pl.read_parquet(params["item_index"]).get_columns(), strict=True))
    vectors = dict(zip(*pl.read_parquet(params["items"]).get_columns(), strict=True))
    ids = data.items.ids.ids().tolist()
    table = table_of().astype(np.float64)
    asked = [3, 5, 5, 60, 1, 2]
    user = sum(table[numbers[ids[row]]] for row in asked[-4:])
    expected = {row: float(np.dot(user, vectors[one])) for row, one in enumerate(ids)}
    found = path.retrieve(query(asked), 65)
    assert found.items.tolist() == sorted(expected, key=lambda row: -expected[row])
    np.testing.assert_allclose(found.scores, [expected[row] for row in found.items.tolist()], rtol=1e-4, atol=1e-5)


EXPORTED = {
    "rechub": {"inputs": {"user": "user", "age": "feature:age", "hist": "history"}, "history": 6},
    "replay": {"inputs": {"item_id": "history", "padding_mask": "mask"}, "history": 8, "padding": 30},
}


@pytest.mark.parametrize("library", EXPORTED)
def test_exported_model_finds_what_its_library_finds(library: str, tmp_path: Path) -> None:
    """For 1,000 users; `make_rechub.py` and `make_replay.py` have asked the libraries."""
    with np.load(MODELS / f"{library}.npz") as stored:
        theirs = dict(stored)
    data, ids = small_shop(), small_shop().items.ids.ids().tolist()
    n, first = len(theirs["items"]), int(theirs["first_item"])
    pl.DataFrame({"item_id": ids[:n], "index": np.arange(n) + first}).write_parquet(tmp_path / "numbers.parquet")
    users = data.users.ids.ids().tolist()[:12]
    pl.DataFrame({"user_id": users, "index": range(1, 13)}).write_parquet(tmp_path / "users.parquet")
    path = fit_path(
        data,
        items=write_vectors(tmp_path / "items.parquet", "item_id", data, theirs["items"], ids[:n]),
        model=str(MODELS / f"{library}.onnx"),
        item_index=str(tmp_path / "numbers.parquet"),
        user_index=str(tmp_path / "users.parquet"),
        **EXPORTED[library],
    )
    ends = np.cumsum(theirs["history_sizes"], dtype=np.int64)
    asked = [
        query(
            history - first,
            user=int(theirs["users"][place]) - 1 if "users" in theirs else -1,
            features={"age": float(theirs["ages"][place])} if "ages" in theirs else {},
        )
        for place, history in enumerate(np.split(theirs["history_items"].astype(np.int32), ends[:-1]))
    ]
    assert len(asked) == 1_000
    batch = path.retrieve_batch(asked, 10)
    for place, one in enumerate(asked):
        best, scores = theirs["best"][place].astype(np.int32), theirs["scores"][place]
        assert_same_above_every_tie(batch[place], best, scores, 10)
        if place < 50:
            assert_same_above_every_tie(path.retrieve(one, 10), best, scores, 10)


def pass_on(names: list[str], types: dict[str, Any], width: int) -> Any:
    """A model whose output has its inputs side by side, as floats."""
    inputs = [helper.make_tensor_value_info(name, types[name][0], types[name][1]) for name in names]
    nodes: list[Any] = []
    for name in names:
        nodes.append(helper.make_node("Cast", [name], [f"{name}_float"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Reshape", [f"{name}_float", f"{name}_shape"], [f"{name}_flat"]))
    nodes.append(helper.make_node("Concat", [f"{name}_flat" for name in names], ["vector"], axis=1))
    sizes = [numpy_helper.from_array(np.array([0, types[name][2]]), f"{name}_shape") for name in names]
    return tower_model(inputs, nodes, sizes, ("users", width))


def seen(data: Dataset, tmp_path: Path, asked: Query, model: Any, dim: int, **params: Any) -> list[float]:
    """What a model that passes its inputs on gets for a query."""
    save(model, str(tmp_path / "seen.onnx"))
    ids = data.items.ids.ids().tolist()[:dim]
    items = write_vectors(tmp_path / "unit.parquet", "item_id", data, np.eye(dim), ids)
    found = fit_path(data, model=str(tmp_path / "seen.onnx"), items=items, **params).retrieve(asked, dim)
    scores = np.zeros(dim)
    scores[found.items] = found.scores
    return scores.tolist()


@pytest.mark.parametrize(
    ("pad", "history", "mask"), [("left", [9, 9, 3, 5], [0, 0, 1, 1]), ("right", [3, 5, 9, 9], [1, 1, 0, 0])]
)
def test_inputs_are_what_the_page_says(tmp_path: Path, pad: str, history: list[int], mask: list[int]) -> None:
    data = small_shop()
    ids = data.items.ids.ids().tolist()
    pl.DataFrame({"item_id": [ids[7], ids[2]], "index": [5, 3]}).write_parquet(tmp_path / "numbers.parquet")
    users = data.users.ids.ids().tolist()
    pl.DataFrame({"user_id": users[4:5], "index": [8]}).write_parquet(tmp_path / "users.parquet")
    types = {
        "h": (TensorProto.INT32, ["users", 4], 4),
        "m": (TensorProto.BOOL, ["users", 4], 4),
        "n": (TensorProto.DOUBLE, ["users", 1], 1),
        "u": (TensorProto.INT64, ["users"], 1),
        "a": (TensorProto.FLOAT, ["users", 1], 1),
        "c": (TensorProto.INT64, ["users"], 1),
    }
    settings = {
        "inputs": {
            "h": "history",
            "m": "mask",
            "n": "length",
            "u": "user",
            "a": "feature:age",
            "c": "category:country",
        },
        "item_index": str(tmp_path / "numbers.parquet"),
        "user_index": str(tmp_path / "users.parquet"),
        "categories": {"country": {"a": 4, "b": 6}},
        "unknown_category": 2,
        "unknown_user": 1,
        "missing_number": -0.5,
        "padding": 9,
        "pad": pad,
    }
    model = pass_on(list(types), types, 12)
    known = query([2, 30, 7], user=4, features={"age": 0.25, "country": "b"})
    assert seen(data, tmp_path, known, model, 12, **settings) == [*history, *mask, 2, 8, 0.25, 6]
    odd = query([2, 7], user=5, features={"country": "z"})
    assert seen(data, tmp_path, odd, model, 12, **settings)[8:] == [2, 1, -0.5, 2]


def test_users_of_whom_nothing_is_known_are_proposed_nothing(params: dict[str, Any]) -> None:
    path = fit_path(small_shop(), **params)
    batch = path.retrieve_batch([query([]), query([3]), query([])], 5)
    assert [len(batch[place]) for place in range(3)] == [0, 5, 0]
    assert len(path.retrieve(query([]), 5)) == 0


def test_text_in_place_of_a_number_is_told_with_the_remedy(tmp_path: Path) -> None:
    types = {"a": (TensorProto.FLOAT, ["users", 1], 1)}
    asked = query([], features={"country": "fr"})
    with pytest.raises(ValueError, match=r"feature 'country' is 'fr', no number; let inputs name category:country"):
        seen(small_shop(), tmp_path, asked, pass_on(["a"], types, 1), 1, inputs={"a": "feature:country"})


def test_several_vectors_of_a_user(params: dict[str, Any], tmp_path: Path) -> None:
    """One for each item of the history: an item has its best score."""
    data = small_shop()
    inputs = [helper.make_tensor_value_info("history", TensorProto.INT64, ["users", 3])]
    nodes = [helper.make_node("Gather", ["table", "history"], ["vector"])]
    table = numpy_helper.from_array(table_of(), "table")
    save(tower_model(inputs, nodes, [table], ("users", 3, 6)), str(tmp_path / "several.onnx"))
    path = fit_path(data, **{**params, "model": str(tmp_path / "several.onnx")})
    single = fit_path(data, **{**params, "history": 1})
    found = path.retrieve(query([2, 5, 9]), 65)
    each = []
    for row in (2, 5, 9):
        one = single.retrieve(query([row]), 65)
        each.append(one.scores[np.argsort(one.items)])
    np.testing.assert_allclose(found.scores, np.max(each, axis=0)[found.items], rtol=1e-5, atol=1e-6)
    assert path.retrieve_batch([query([2, 5, 9])], 65)[0].items.tolist() == found.items.tolist()


def test_model_with_a_batch_of_one_answers_batches(params: dict[str, Any], tmp_path: Path) -> None:
    inputs = [helper.make_tensor_value_info("history", TensorProto.INT64, [1, 4])]
    nodes = [
        helper.make_node("Gather", ["table", "history"], ["each"]),
        helper.make_node("ReduceSum", ["each", "axis"], ["vector"], keepdims=0),
    ]
    weights = [numpy_helper.from_array(table_of(), "table"), numpy_helper.from_array(np.array([1]), "axis")]
    save(tower_model(inputs, nodes, weights, (1, 6)), str(tmp_path / "one.onnx"))
    path = fit_path(small_shop(), **{**params, "model": str(tmp_path / "one.onnx"), "history": 9})
    free = fit_path(small_shop(), **params)
    asked = [query([row, row + 1]) for row in range(5)]
    batch, other = path.retrieve_batch(asked, 5), free.retrieve_batch(asked, 5)
    assert batch.items.tolist() == other.items.tolist()


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"inputs": {"histroy": "history"}}, "tower.onnx: has no input 'histroy'; did you mean 'history'"),
        ({"inputs": {"history": "history", "more": "mask"}}, "has no input 'more'"),
        ({"output": "vectors"}, "tower.onnx: has no output 'vectors'; did you mean 'vector'"),
        ({"model": "missing.onnx"}, "model: missing.onnx: cannot be read: .*check the path"),
        ({"item_index": "missing.parquet"}, "missing.parquet"),
    ],
)
def test_faults_name_what_is_there(params: dict[str, Any], changed: dict[str, Any], fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        fit_path(small_shop(), **{**params, **changed})


def test_other_dimension_is_refused(params: dict[str, Any], tmp_path: Path) -> None:
    data = small_shop()
    items = write_vectors(tmp_path / "short.parquet", "item_id", data, np.ones((65, 5)), data.items.ids.ids().tolist())
    with pytest.raises(DataError, match=r"output 'vector' has vectors of 6 numbers, those of .* have 5; write both"):
        fit_path(data, **{**params, "items": items})


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"item_index": None}, "inputs name a history, but item_index is missing"),
        ({"inputs": {"u": "user"}}, "inputs name the user, but user_index is missing"),
        ({"inputs": {"c": "category:country"}}, "categories has no 'country'"),
        ({"inputs": {"c": "clicks"}}, "inputs"),
        ({"inputs": {}}, "inputs"),
        ({"items": "items.npy"}, "item_ids names the rows of npy"),
    ],
)
def test_settings_that_do_not_fit_are_refused(params: dict[str, Any], changed: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        OnnxConfig.model_validate({**params, **changed})


@pytest.mark.parametrize("place", ["initializer", "constant", "branch"])
@pytest.mark.parametrize("location", ["weights.bin", "ABSOLUTE", "../weights.bin"])
def test_model_reads_no_file_beside_it(
    params: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str, place: str
) -> None:
    """onnxruntime by itself reads external data of a model in bytes from the working directory."""
    (tmp_path / "work").mkdir()
    for folder in (tmp_path, tmp_path / "work"):
        (folder / "weights.bin").write_bytes(table_of().tobytes())
    monkeypatch.chdir(tmp_path / "work")
    model = stranger(str(tmp_path / "weights.bin") if location == "ABSOLUTE" else location, place)
    whole = model.SerializeToString()
    (tmp_path / "work" / "external.onnx").write_bytes(whole)
    if location == "weights.bin":
        InferenceSession(whole, providers=["CPUExecutionProvider"])
    with pytest.raises(DataError, match=r"external.onnx: cannot be opened: .*without external data"):
        fit_path(small_shop(), **{**params, "model": "external.onnx"})


def stranger(location: str, place: str) -> Any:
    """The tower, with its embeddings in another file: as a weight, a constant, or the weight of a branch."""

    def table(name: str) -> Any:
        found = numpy_helper.from_array(table_of(), name)
        found.ClearField("raw_data")
        found.data_location = TensorProto.EXTERNAL
        found.external_data.add(key="location", value=location)
        return found

    def branch(name: str) -> Any:
        output = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)
        nodes = [helper.make_node("Identity", [name], [f"{name}_out"])]
        return helper.make_graph(nodes, name, [], [output], [table(name)])

    nodes = [
        helper.make_node("Gather", ["table", "history"], ["each"]),
        helper.make_node("ReduceSum", ["each", "axis"], ["vector"], keepdims=0),
    ]
    weights = [numpy_helper.from_array(np.array([1]), "axis")]
    if place == "initializer":
        weights.append(table("table"))
    elif place == "constant":
        nodes.insert(0, helper.make_node("Constant", [], ["table"], value=table("table")))
    else:
        weights.append(numpy_helper.from_array(np.array(True), "yes"))
        branches = {"then_branch": branch("one"), "else_branch": branch("other")}
        nodes.insert(0, helper.make_node("If", ["yes"], ["table"], **branches))
    inputs = [helper.make_tensor_value_info("history", TensorProto.INT64, ["users", "L"])]
    return tower_model(inputs, nodes, weights)


def test_release_that_would_read_external_data_is_refused(
    params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxruntime.__version__", "1.20.1")
    with pytest.raises(MissingExtra, match=r"needs onnxruntime 1.22 or newer, 1.20.1 is installed: pip install"):
        fit_path(small_shop(), **params)


@pytest.mark.parametrize("kind", ["custom operator", "format of onnxruntime", "garbage", "empty", "cut off"])
def test_what_is_no_plain_model_is_refused(params: dict[str, Any], tmp_path: Path, kind: str) -> None:
    file = tmp_path / "odd.onnx"
    if kind == "custom operator":
        inputs = [helper.make_tensor_value_info("history", TensorProto.INT64, ["users", "L"])]
        model = tower_model(inputs, [helper.make_node("Evil", ["history"], ["vector"], domain="evil.ops")], [])
        model.opset_import.append(helper.make_opsetid("evil.ops", 1))
        save(model, str(file))
    elif kind == "format of onnxruntime":
        options = SessionOptions()
        options.log_severity_level = 4
        options.optimized_model_filepath = str(file)
        options.add_session_config_entry("session.save_model_format", "ORT")
        InferenceSession(params["model"], options, providers=["CPUExecutionProvider"])
        InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    else:
        whole = Path(params["model"]).read_bytes()
        file.write_bytes({"garbage": b"no model", "empty": b"", "cut off": whole[: len(whole) // 2]}[kind])
    with pytest.raises(DataError, match=r"odd.onnx: (cannot be opened|has no input)"):
        fit_path(small_shop(), **{**params, "model": str(file)})


def engine_of(params: dict[str, Any]) -> Engine:
    paths = [{"retriever": "onnx", "params": params}, {"retriever": "popularity"}]
    config = {"k": 5, "paths": paths, "fusion": {"strategy": "rrf"}}
    return Engine(EngineConfig.model_validate(config)).fit(small_shop())


def test_bundle_needs_no_other_file_and_a_changed_model_is_refused(params: dict[str, Any], tmp_path: Path) -> None:
    with engine_of(params) as fitted:
        expected = fitted.retrieve(1)
        fitted.save(tmp_path / "bundle")
    for name in ("model", "items", "item_index"):
        Path(params[name]).unlink()
    with Engine.load(tmp_path / "bundle") as loaded:
        found = loaded.retrieve(1)
        assert found.status["onnx"].state == "ok"
        assert (found.ids.tolist(), found.scores.tolist()) == (expected.ids.tolist(), expected.scores.tolist())
    [model] = (tmp_path / "bundle").rglob("*.onnx")
    whole = model.read_bytes()
    model.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(BundleError, match=r"is damaged: .*model.onnx"):
        Engine.load(tmp_path / "bundle")


def test_items_that_join_are_served_and_read_in_histories(params: dict[str, Any]) -> None:
    with engine_of(params) as served:
        assert 70 in pl.read_parquet(params["items"])["item_id"].to_list()
        served.add_items([{"item_id": 70, "group": "odd"}])
        assert served.retrieve(User(history=[70]), seen=True).status["onnx"].count
        lists = served.path_lists([User(history=[1])])["onnx"][0]
        assert served._state.data.items.ids.row(70) in lists.items  # type: ignore[union-attr]


def test_threads_share_a_session(params: dict[str, Any]) -> None:
    path = fit_path(small_shop(), **params)
    asked = [query([row, row + 3]) for row in range(40)]
    expected = [path.retrieve(one, 9) for one in asked]
    together = threading.Barrier(4)

    def ask(_: int) -> list[Any]:
        together.wait(60)
        return [path.retrieve(one, 9) for one in asked]

    with ThreadPoolExecutor(4) as pool:
        for answers in pool.map(ask, range(4)):
            for answer, wanted in zip(answers, expected, strict=True):
                assert answer.items.tolist() == wanted.items.tolist()
                assert answer.scores.tolist() == wanted.scores.tolist()


def test_numbers_are_whole_numbers(params: dict[str, Any], tmp_path: Path) -> None:
    frame = pl.read_parquet(write_numbers(tmp_path / "odd.parquet", "item_id", small_shop()))
    frame.with_columns(pl.col("index") * 0.5).write_parquet(tmp_path / "odd.parquet")
    with pytest.raises(DataError, match=r"index.* has a cell that is no whole number"):
        fit_path(small_shop(), **{**params, "item_index": str(tmp_path / "odd.parquet")})
