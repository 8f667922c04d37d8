"""The notebooks in `examples/` run from top to bottom, and their plug-in keeps the contract."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from commands import output_of
from pages import ROOT

EXAMPLES = ROOT / "examples"
SAYS = {
    "other_models.py": "fused     recall@50 0.2",
    "plug_in.py": "('SameHour', 'item_cf') ['i",
    "shop.py": "60,000 rows for 600 customers",
    "which_path.py": "fused recall@50: 0.",
}
"""What the last cell of each prints, in part."""


def run(*command: str | Path, folder: Path) -> str:
    path = os.pathsep.join([str(ROOT), str(EXAMPLES)])
    return output_of(*command, environment={**os.environ, "TMPDIR": str(folder), "PYTHONPATH": path}, cwd=folder)


@pytest.mark.parametrize("name", sorted(SAYS))
def test_notebook_runs(name: str, tmp_path: Path) -> None:
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    assert text.startswith("# %% [markdown]\n# # ")
    assert text.count("\n# %%\n") >= 3
    assert SAYS[name] in run(sys.executable, EXAMPLES / name, folder=tmp_path)


def test_every_example_is_run() -> None:
    assert {file.name for file in EXAMPLES.glob("*.py")} == SAYS.keys()


def test_plug_in_is_short_and_keeps_the_contract(tmp_path: Path) -> None:
    text = (EXAMPLES / "plug_in.py").read_text(encoding="utf-8")
    cell = next(cell for cell in text.split("# %%\n") if cell.startswith("class "))
    assert len([line for line in cell.partition("# %% [markdown]")[0].splitlines() if line]) <= 40
    (tmp_path / "test_same_hour.py").write_text(
        "from plug_in import SameHour\n"
        "from multirecall.testing import RetrieverContract\n"
        "class TestSameHour(RetrieverContract):\n"
        "    retriever = SameHour\n",
        encoding="utf-8",
    )
    assert " passed" in run(sys.executable, "-m", "pytest", "-q", "test_same_hour.py", folder=tmp_path)
