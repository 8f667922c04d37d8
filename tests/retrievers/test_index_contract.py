"""Every kind of index passes the contract: as it is chosen, and made to search where a scan would be faster."""

from __future__ import annotations

import pytest
from index_helpers import never_scan
from toy_index import ToyIndex

from multirecall.retrievers._index import effort
from multirecall.retrievers._index.annoy import AnnoyIndex
from multirecall.retrievers._index.auto import AutoIndex
from multirecall.retrievers._index.exact import ExactIndex
from multirecall.retrievers._index.faiss import FaissIndex
from multirecall.retrievers._index.hnsw import HnswIndex
from multirecall.retrievers._index.ivf import IvfIndex
from multirecall.retrievers._index.usearch import UsearchIndex
from multirecall.testing import IndexContract


class Searched:
    """Walk graphs and visit cells even where a scan is faster, as it is in all small tests."""

    @pytest.fixture(autouse=True)
    def searched(self, monkeypatch: pytest.MonkeyPatch) -> None:
        never_scan(monkeypatch)
        monkeypatch.setattr(effort, "ASKED", 25)


class TestExact(IndexContract):
    index = ExactIndex
    exact = True


class TestAuto(IndexContract):
    index = AutoIndex
    exact = True


class TestIvf(IndexContract):
    index = IvfIndex


class TestIvfSearched(Searched, IndexContract):
    index = IvfIndex


class TestHnsw(IndexContract):
    index = HnswIndex
    params = {"M": 16, "ef_construction": 100, "ef_search": 50}


class TestHnswSearched(Searched, IndexContract):
    index = HnswIndex
    params = {"M": 16, "ef_construction": 100, "ef_search": 50}


class TestFaiss(Searched, IndexContract):
    index = FaissIndex


class TestFaissCodes(Searched, IndexContract):
    index = FaissIndex
    params = {"factory": "SQ8", "recall": 0.95}


class TestFaissGraph(Searched, IndexContract):
    index = FaissIndex
    params = {"factory": "HNSW16"}


class TestAnnoy(Searched, IndexContract):
    index = AnnoyIndex
    params = {"trees": 10}


class TestUsearch(Searched, IndexContract):
    index = UsearchIndex
    params = {"dtype": "f32"}


class TestUsearchCodes(Searched, IndexContract):
    index = UsearchIndex
    params = {"dtype": "i8", "recall": 0.95}


class TestToy(IndexContract):
    index = ToyIndex
    exact = True
    score_tolerance = 1e-5
