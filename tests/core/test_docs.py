"""Code in the README and the docs runs, links lead somewhere, and tables are those of the result files."""

from __future__ import annotations

import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from multirecall import Dataset, Engine, EngineConfig, PathConfig, User
from multirecall.datasets import generate
from multirecall.progress import SILENT
from multirecall.protocols import PluginConfig
from multirecall.testing import small_shop
from multirecall.testing.retriever import RetrieverContract

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def test_python_start_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks("README.md", "python")[0], "README.md", "exec"), {})
    assert "PathStatus(state='ok'" in capsys.readouterr().out
    assert (tmp_path / "candidates.parquet").is_file()


def test_live_changes_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    log = generate(n_users=500, n_items=800, n_interactions=20_000)
    config = EngineConfig(paths=(PathConfig(retriever="item_cf"), PathConfig(retriever="content")))
    with Engine(config).fit(Dataset.from_frames(log.interactions, log.items, log.users)) as engine:
        engine.save("bundle")
    names: dict[str, Any] = {"Engine": Engine}
    exec(compile(blocks("README.md", "python")[1], "README.md", "exec"), names)
    assert "PathHealth(breaker='closed'" in capsys.readouterr().out
    assert "i000080" not in names["engine"].retrieve("u00042", k=800).ids
    assert "brand-new" in names["engine"].retrieve("u00042", k=800).ids
    assert not names["engine"].retrieve("u00007", k=1).known
    names["engine"].close()
    assert len(Engine.versions("bundle")) == 1, "the one before holds who was forgotten"


def test_config_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "engine.toml").write_text(blocks("README.md", "toml")[0], encoding="utf-8")
    assert [path.name for path in Engine.from_toml(tmp_path / "engine.toml").config.paths] == [
        "similar",
        "content",
        "popularity",
    ]


def test_node2vec_takes_the_graphs_of_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks("docs/retrievers.md", "python"):
        exec(compile(block, "retrievers.md", "exec"), names)
    Path("engine.toml").write_text(blocks("docs/retrievers.md", "toml")[0], encoding="utf-8")
    log = names["log"]
    with Engine.from_toml("engine.toml").fit(Dataset.from_frames(log.interactions, log.items, log.users)) as engine:
        asked = User(history=["i000001"])
        of_table = engine.path_lists([asked])["related"][0].items.tolist()
    of_graphml = names["engine"].path_lists([asked])["node2vec"][0].items.tolist()
    assert of_table == of_graphml
    assert of_table
    names["engine"].close()


def test_own_retriever_passes_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {"__name__": "my_project.fresh"}
    monkeypatch.chdir(tmp_path)
    example, batch, _, given, loaded, _ = blocks("docs/plug-ins.md", "python")
    exec(compile(example, "plug-ins.md", "exec"), names)
    exec(compile(batch, "plug-ins.md", "exec"), names)
    contract = type("TestFresh", (RetrieverContract,), {"retriever": names["Fresh"]})()
    data = small_shop()
    path = names["Fresh"](PluginConfig())
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    for name in ("test_lists_are_valid", "test_batch_equals_one_by_one", "test_filter_is_applied_if_promised"):
        getattr(contract, name)(path, data)
    (tmp_path / "path").mkdir()
    contract.test_saved_and_loaded_is_the_same(path, data, tmp_path / "path")
    many = names["FreshForMany"](PluginConfig())
    many.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    contract.test_batch_equals_one_by_one(many, data)
    contract.test_batch_of_nobody(many)
    names["data"] = data
    exec(compile(given, "plug-ins.md", "exec"), names)
    exec(compile(loaded, "plug-ins.md", "exec"), names)
    assert names["engine"].retrieve(1, 3).status["Fresh"].state == "ok"


class Trends(BaseHTTPRequestHandler):
    """Proposes the items 5, 99 and 3, of which the shop has two, and keeps what it was asked."""

    asked: ClassVar[list[Any]] = []

    def do_POST(self) -> None:
        self.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"items": [5, 99, 3], "scores": [1.0, 3.0, 2.0]}')

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


def test_retriever_that_asks_a_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {"__name__": "my_project.remote"}
    for block in (0, 2):
        exec(compile(blocks("docs/plug-ins.md", "python")[block], "plug-ins.md", "exec"), names)
    with HTTPServer(("127.0.0.1", 0), Trends) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("TRENDS_URL", f"http://127.0.0.1:{server.server_port}/")
        with Engine(EngineConfig.model_validate({"paths": [{"retriever": names["Remote"]}]})).fit(
            small_shop()
        ) as engine:
            engine.save(tmp_path / "bundle")
        with Engine.load(tmp_path / "bundle", plugins=[names["Remote"]]) as engine:
            answer = engine.retrieve(
                User(history=[8]), 2, where={"group": "odd"}, context={"device": "phone"}, deadline_ms=60_000
            )
        server.shutdown()
    assert answer.ids.tolist() == [3, 5]
    assert Trends.asked[-1] == {"history": [8], "where": {"group": ["odd"]}, "device": "phone", "k": 65}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf-8")):
        file, _, heading = target.partition("#")
        there = page.parent / file if file else page
        assert there.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings], target


def test_tables_are_those_of_the_result_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import doc_tables

    pages = [file.read_text(encoding="utf-8") for file in doc_tables.PAGES]
    for page in pages:
        assert doc_tables.filled(page) == page, "run python benchmarks/doc_tables.py"
    for name in doc_tables.PARTS:
        assert sum(page.count(f"<!-- {name} -->") for page in pages) == 1, name
    monkeypatch.delitem(sys.modules, "doc_tables")
