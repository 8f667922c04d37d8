from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import polars as pl
import pytest

from multirecall import Dataset, Engine, EngineConfig, PathConfig, User
from multirecall.errors import CannotFit, ConfigError, DataError, IdTypeError
from multirecall.progress import SILENT
from multirecall.retrievers._graph.graph import Graph
from multirecall.retrievers._graph.item_graph import item_graph
from multirecall.retrievers.node2vec import Node2Vec, Node2VecConfig
from multirecall.testing import RetrieverContract, small_shop

PAIRS = [(0, 1), (1, 2), (2, 3), (3, 0), (10, 11), (11, 12), (12, 10)]
"""Items of the small shop in two circles."""


def prefixed(item: int, data: Dataset) -> Any:
    return f"i{item}" if data.items.ids.holds_text else item


def write_edges(file: Path, data: Dataset, pairs: Any = PAIRS, weights: Any = None) -> str:
    ends = [[prefixed(pair[end], data) for pair in pairs] for end in (0, 1)]
    weights = [float(1 + number % 3) for number in range(len(ends[0]))] if weights is None else weights
    frame = pl.DataFrame({"source": ends[0], "target": ends[1], "weight": weights})
    if file.suffix == ".parquet":
        frame.write_parquet(file)
    else:
        frame.write_csv(file)
    return str(file)


def dense(graph: Graph) -> Any:
    """The weights as a matrix nodes × nodes."""
    matrix = np.zeros((graph.n_nodes, graph.n_nodes))
    sources = np.repeat(np.arange(graph.n_nodes), np.diff(graph.offsets))
    matrix[sources, graph.neighbours] = 1.0 if graph.weights is None else graph.weights
    return matrix


class ItemGraphContract(RetrieverContract):
    """A circle of all items that have an even number, and a chord."""

    retriever = Node2Vec
    file: Path

    @pytest.fixture(autouse=True)
    def _keep_the_file_in(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.file = tmp_path_factory.mktemp("graph") / "edges.parquet"

    def fit(self, data: Dataset, seed: int = 5) -> Any:
        pairs = [(item, (item + 2) % 60) for item in range(0, 60, 2)] + [(0, 30)]
        params = {**self.params, "graph": write_edges(self.file, data, pairs)}
        path = Node2Vec(Node2VecConfig.model_validate(params))
        path.fit(data, rng=np.random.default_rng(seed), progress=SILENT)
        self.file.unlink()
        return path


class TestNeighbours(ItemGraphContract):
    params = {"dim": 8, "walks_per_node": 4, "walk_length": 10, "p": 0.5, "q": 2.0}
    score_tolerance = 1e-5


class TestWalks(ItemGraphContract):
    params = {"serve": "walks", "request_walks": 200}


class TestDirectedWalks(ItemGraphContract):
    params = {"serve": "walks", "request_walks": 200, "directed": True}


@pytest.mark.parametrize("ids", ["int", "str"])
@pytest.mark.parametrize("name", ["edges.parquet", "edges.csv"])
@pytest.mark.parametrize("directed", [True, False])
def test_a_table_is_its_matrix(tmp_path: Path, ids: str, name: str, directed: bool) -> None:
    data = small_shop(ids)
    pairs, weights = [(4, 7), (7, 4), (4, 7), (9, 9), (7, 60)], [1.0, 2.0, 4.0, 8.0, 16.0]
    graph = item_graph(write_edges(tmp_path / name, data, pairs, weights), data, directed=directed, weighted=True)
    expected = np.zeros((data.n_items, data.n_items))
    for (source, target), weight in zip(pairs, weights, strict=True):
        rows = data.items.ids.rows([prefixed(source, data), prefixed(target, data)])
        expected[rows[0], rows[1]] += weight
        if not directed and source != target:
            expected[rows[1], rows[0]] += weight
    assert np.array_equal(dense(graph), expected)
    assert graph.directed == directed


@pytest.mark.parametrize("ids", ["int", "str"])
@pytest.mark.parametrize("kind", [nx.Graph, nx.DiGraph, nx.MultiGraph])
def test_graphml_is_the_graph_of_networkx(tmp_path: Path, ids: str, kind: Any) -> None:
    data = small_shop(ids)
    source = kind()
    for number, (one, other) in enumerate([*PAIRS, (0, 1)]):
        source.add_edge(prefixed(one, data), prefixed(other, data), weight=number + 0.5)
    nx.write_graphml(source, tmp_path / "edges.graphml")
    graph = item_graph(str(tmp_path / "edges.graphml"), data, directed=False, weighted=True)
    rows = data.items.ids.rows(list(source))
    assert np.array_equal(dense(graph)[np.ix_(rows, rows)], nx.to_numpy_array(source))
    assert (graph.n_nodes, graph.directed) == (data.n_items, kind is nx.DiGraph)


def test_unweighted_tables_need_no_weight(tmp_path: Path) -> None:
    data = small_shop()
    pl.DataFrame({"source": [1, 2, 1], "target": [2, 3, 2]}).write_parquet(tmp_path / "edges.parquet")
    graph = item_graph(str(tmp_path / "edges.parquet"), data, directed=False, weighted=False)
    assert graph.weights is None
    assert graph.neighbours.tolist() == data.items.ids.rows([2, 1, 3, 2]).tolist()


def test_unknown_ids_are_counted_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = small_shop()
    pairs = [(1, 2), (1, 1_000), (1_000, 2_000), (2_000, 3), (3, 4)]
    with caplog.at_level(logging.INFO, "multirecall.retrievers"):
        file = write_edges(tmp_path / "edges.parquet", data, pairs)
        graph = item_graph(file, data, directed=True, weighted=True)
    assert [record.getMessage() for record in caplog.records] == [
        f"{file}: 2 of 6 ids are no items of the catalogue; their edges are left out",
        f"{file}: read as the graph of items, which joins 4 of 65 items",
    ]
    assert np.count_nonzero(dense(graph)) == 2


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 1e-50, 1e39, None])
@pytest.mark.parametrize("name", ["edges.parquet", "edges.csv"])
def test_weights_that_are_none_name_their_place(tmp_path: Path, name: str, value: Any) -> None:
    data = small_shop()
    file = write_edges(tmp_path / name, data, [(1, 2), (2, 3)], [1.0, value])
    place = rf"{file}: column 'weight', row 1 \(the first is 0\): .* is not a positive float32; correct it"
    with pytest.raises(DataError, match=place):
        item_graph(file, data, directed=False, weighted=True)


@pytest.mark.parametrize("missing", ["source", "target", "weight"])
def test_missing_columns_are_named(tmp_path: Path, missing: str) -> None:
    frame = pl.DataFrame({"source": [1], "target": [2], "weight": [1.0]}).rename({missing: missing[:-1]})
    frame.write_parquet(tmp_path / "edges.parquet")
    with pytest.raises(
        DataError, match=rf"edges.parquet: column '{missing}' is missing; did you mean '{missing[:-1]}'"
    ):
        item_graph(str(tmp_path / "edges.parquet"), small_shop(), directed=False, weighted=True)


@pytest.mark.parametrize("ids", ["int", "str"])
def test_ids_of_the_other_type_are_refused(tmp_path: Path, ids: str) -> None:
    other = small_shop("str" if ids == "int" else "int")
    with pytest.raises(IdTypeError, match=r"edges.parquet: column 'source', row 0 .*: item ids are"):
        item_graph(write_edges(tmp_path / "edges.parquet", other), small_shop(ids), directed=False, weighted=True)


def test_ids_of_the_other_type_are_converted_where_the_config_says_so(tmp_path: Path) -> None:
    log = pl.DataFrame({"user_id": [1, 1, 2], "item_id": [1, 2, 3]})
    data = Dataset.from_frames(log, ids="text")
    pl.DataFrame({"source": [1], "target": [3], "weight": [1.0]}).write_parquet(tmp_path / "edges.parquet")
    graph = item_graph(str(tmp_path / "edges.parquet"), data, directed=True, weighted=True)
    assert (graph.offsets.tolist(), graph.neighbours.tolist()) == ([0, 1, 1, 1], [2])


@pytest.mark.parametrize("name", ["edges.csv", "edges.graphml"])
def test_cells_that_are_no_ids_are_named(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    if name == "edges.csv":
        file.write_text("source,target,weight\n1,2,1\n1,x,1\n")
    else:
        nx.write_graphml(nx.Graph([("1", "x", {"weight": 1.0})]), file)
    with pytest.raises(DataError, match=r"row 1 \(the first is 0\): 'x' is not an integer"):
        item_graph(str(file), small_shop(), directed=False, weighted=True)


@pytest.mark.parametrize("weight", [0, -2.5, "heavy", None])
def test_graphml_weights_that_are_none_name_their_edge(tmp_path: Path, weight: Any) -> None:
    source = nx.Graph([(1, 2, {} if weight is None else {"weight": weight})])
    nx.write_graphml(source, tmp_path / "edges.graphml")
    with pytest.raises(DataError, match=r"edges.graphml: edge \('1', '2'\): 'weight' must be a number above 0"):
        item_graph(str(tmp_path / "edges.graphml"), small_shop(), directed=False, weighted=True)


@pytest.mark.parametrize("content", ["", "<graphml>", "<a/>", "no XML", '<graphml xmlns="x"><graph/></graphml>'])
def test_what_is_no_graphml_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "edges.graphml").write_text(content)
    with pytest.raises(DataError, match=r"edges.graphml: cannot be read as GraphML"):
        item_graph(str(tmp_path / "edges.graphml"), small_shop(), directed=False, weighted=True)


@pytest.mark.parametrize("name", ["edges.parquet", "edges.csv", "edges.graphml"])
@pytest.mark.parametrize("pairs", [[], [(1_000, 1)]])
def test_a_graph_that_joins_no_items_cannot_be_fitted(tmp_path: Path, name: str, pairs: Any) -> None:
    file = tmp_path / name
    if name == "edges.graphml":
        nx.write_graphml(nx.Graph([(*pair, {"weight": 1.0}) for pair in pairs]), file)
    else:
        write_edges(file, small_shop(), pairs)
    with pytest.raises(CannotFit, match=rf"{name}: no edge joins two items of the catalogue"):
        item_graph(str(file), small_shop(), directed=False, weighted=True)


@pytest.mark.parametrize(
    "file", ["gone.parquet", "https://example.com/edges.parquet", "s3://bucket/edges.parquet", "."]
)
def test_only_files_of_this_machine_are_read(file: str) -> None:
    with pytest.raises(DataError, match=r"the graph of items is no file; each fit and refit reads it"):
        item_graph(file, small_shop(), directed=False, weighted=True)


def test_no_url_is_opened_though_a_folder_bears_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "https:" / "example.com").mkdir(parents=True)
    write_edges(tmp_path / "https:" / "example.com" / "edges.parquet", small_shop())
    graph = item_graph("https://example.com/edges.parquet", small_shop(), directed=False, weighted=True)
    assert np.count_nonzero(graph.degrees) == 7


def test_directed_needs_a_graph() -> None:
    with pytest.raises(ConfigError, match="directed is true, but there is no graph"):
        Engine(EngineConfig(paths=(PathConfig(retriever="node2vec", params={"directed": True}),)))


def engine_on(file: str, **params: Any) -> Engine:
    params = {"graph": file, "dim": 8, "walks_per_node": 10, "walk_length": 10, **params}
    return Engine(EngineConfig(paths=(PathConfig(retriever="node2vec", params=params),)))


def list_after(engine: Engine, item: int) -> list[int]:
    """What the path proposes after an item; the shop's rows are its ids."""
    found: list[int] = engine.path_lists([User(history=[item])])["node2vec"][0].items.tolist()
    return found


@pytest.mark.parametrize("serve", ["neighbours", "walks"])
def test_proposals_follow_the_graph_and_not_the_log(tmp_path: Path, serve: str) -> None:
    """Items 0 … 3 are a circle here, 10 … 12 another; in the log even and odd items never meet."""
    file = write_edges(tmp_path / "edges.parquet", small_shop())
    with engine_on(file, serve=serve, walks_per_node=100).fit(small_shop()) as engine:
        joined = [item for item in list_after(engine, 1) if item in {item for pair in PAIRS for item in pair}]
        assert sorted(joined[:3]) == [0, 2, 3]


def test_a_directed_graph_is_walked_one_way(tmp_path: Path) -> None:
    file = write_edges(tmp_path / "edges.parquet", small_shop(), [(0, 1), (1, 2), (3, 1)])
    with engine_on(file, serve="walks", directed=True).fit(small_shop()) as engine:
        assert list_after(engine, 1) == [2]


@pytest.mark.parametrize("serve", ["neighbours", "walks"])
def test_a_bundle_answers_without_the_file_and_a_refit_needs_it(tmp_path: Path, serve: str) -> None:
    file = tmp_path / "edges.parquet"
    asked = User(history=[1, 10])
    with engine_on(write_edges(file, small_shop()), serve=serve).fit(small_shop()) as engine:
        before = engine.retrieve(asked, 20).ids.tolist()
        engine.save(tmp_path / "bundle")
    file.rename(tmp_path / "away.parquet")
    with Engine.load(tmp_path / "bundle") as engine:
        assert engine.retrieve(asked, 20).ids.tolist() == before
        with pytest.raises(DataError, match=rf"{file}: the graph of items is no file; each fit and refit reads it"):
            engine.refresh().result(timeout=60)
        assert engine.retrieve(asked, 20).ids.tolist() == before
        assert engine.health().refit.last_fault is not None
        (tmp_path / "away.parquet").rename(file)
        engine.refresh().result(timeout=60)
        assert engine.retrieve(asked, 20).ids.tolist() == before


def test_items_that_the_graph_lacks_are_found_by_their_features(tmp_path: Path) -> None:
    data = small_shop()
    with engine_on(write_edges(tmp_path / "edges.parquet", data)).fit(data) as engine:
        assert set(list_after(engine, 0)) - {item for pair in PAIRS for item in pair}
