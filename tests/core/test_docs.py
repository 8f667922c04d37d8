"""Code in the README and the docs runs and prints what is shown, links lead somewhere, tables are generated."""

from __future__ import annotations

import json
import re
import sys
import threading
import zlib
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pages import NOT_RUN, PAGES, ROOT, Session, blocks_of, is_same, why_not_run

from multirecall import Engine, EngineConfig, User
from multirecall.testing import small_shop

TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
WITH_CODE = [name for name, text in TEXTS.items() if any(why_not_run(block) is None for block in blocks_of(text))]


@pytest.mark.parametrize("name", WITH_CODE)
def test_blocks_run_and_print_what_is_shown(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    session = Session(tmp_path)
    try:
        for one in session.run(TEXTS[name]):
            assert is_same(one.shown, one.printed), (
                f"python tests/pages.py {name} writes what is printed:\n{one.printed}"
            )
    finally:
        session.close()


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


def test_the_pages_retriever_asks_a_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {"__name__": "my_project.remote"}
    code = next(one for one in blocks_of(TEXTS["docs/plug-ins.md"]) if one.title == "my_project/remote.py")
    exec(compile(code.body, code.title, "exec"), names)
    with HTTPServer(("127.0.0.1", 0), Trends) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("TRENDS_URL", f"http://127.0.0.1:{server.server_port}/")
        config = EngineConfig.model_validate({"paths": [{"retriever": names["Remote"]}]})
        with Engine(config).fit(small_shop()) as engine:
            engine.save(tmp_path / "bundle")
        with Engine.load(tmp_path / "bundle", plugins=[names["Remote"]]) as engine:
            answer = engine.retrieve(
                User(history=[8]), 2, where={"group": "odd"}, context={"device": "phone"}, deadline_ms=60_000
            )
        server.shutdown()
    assert answer.ids.tolist() == [3, 5]
    assert Trends.asked[-1] == {"history": [8], "where": {"group": ["odd"]}, "device": "phone", "k": 65}


def test_every_reason_not_to_run_a_block_is_needed() -> None:
    starts = {start for text in TEXTS.values() for block in blocks_of(text) for start in NOT_RUN if start in block.body}
    assert starts == NOT_RUN.keys()


def test_what_is_shown_is_compared() -> None:
    assert is_same("fitted in 0.2 s\n 3 items\n", "fitted in  14.0 s\n3   items\n")
    assert is_same("first\n...\nlast", "first\nmore\nand more\nlast\n")
    assert not is_same("recall 0.25", "recall 0.26")
    assert not is_same("3 items in 0.2 s", "4 items in 0.2 s")


def test_readme_is_short() -> None:
    text = TEXTS["README.md"]
    assert text.count("\n") <= 150
    assert max(len(table.splitlines()) - 2 for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)) <= 12
    first = next(block for block in blocks_of(text) if block.language == "python")
    assert len([line for line in first.body.splitlines() if line]) <= 12


def test_design_is_short() -> None:
    assert TEXTS["docs/design.md"].count("\n") <= 125


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        file, _, heading = target.partition("#")
        there = page.parent / file if file else page
        assert there.exists(), target
        assert page.parent == ROOT or ROOT / "docs" in there.resolve().parents, f"{target} is not part of the site"
        if heading:
            headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings], target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(page: Path) -> None:
    homes = [ROOT, *(ROOT / name for name in ("multirecall", "retrievers", "fusion"))]
    for name in re.findall(r"`(_?[\w/-]+/[\w-]+\.py|_[a-z]+/[a-z_]+)`", page.read_text(encoding="utf-8")):
        file = name if name.endswith(".py") else f"{name}.py"
        assert any((home / file).is_file() for home in homes), name


def test_every_retriever_and_fusion_has_its_settings_shown() -> None:
    from multirecall.registry import GROUPS

    shown = set(re.findall(r"<!-- settings (\w+) -->", "\n".join(TEXTS.values())))
    assert {name for group in GROUPS for name in group.names()} <= shown


def test_tables_are_those_of_the_result_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import doc_tables

    for name, text in TEXTS.items():
        assert doc_tables.fill(text) == text, f"{name}: run python benchmarks/doc_tables.py"
    for name in doc_tables.PARTS:
        assert sum(text.count(f"<!-- {name} -->") for text in TEXTS.values()) == 1, name
    monkeypatch.delitem(sys.modules, "doc_tables")


PUBLIC = (
    "multirecall",
    "multirecall.data",
    "multirecall.evaluation",
    "multirecall.testing",
    "multirecall.tuning",
)
"""The modules whose names the reference must have."""


def inventory_of(file: Path) -> list[str]:
    """The lines of a site's list of documented names, of which the name comes first."""
    return zlib.decompress(file.read_bytes().split(b"\n", 4)[4]).decode().splitlines()


def test_the_site_is_built_and_fetches_nothing(tmp_path: Path) -> None:
    """With warnings as errors: a broken link or a docstring that does not fit its signature fails."""
    config = pytest.importorskip("mkdocs.config", reason="mkdocs is not installed: multirecall[docs]")
    from mkdocs.commands.build import build

    settings: Any = config.load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True)
    build(settings)
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) >= len(PAGES) - 1
    elsewhere = r'<(script|img|iframe|source)[^>]* src="(https?:)?//|<link rel="(style|pre|icon)[^>]*"(https?:)?//'
    for page in pages:
        assert not re.search(elsewhere, page.read_text(encoding="utf-8")), page
    documented = {line.split()[0].rpartition(".")[2] for line in inventory_of(tmp_path / "objects.inv")}
    for module in PUBLIC:
        assert set(import_module(module).__all__) <= documented, module
    for sheet in tmp_path.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//|@import", sheet.read_text(encoding="utf-8")), sheet
