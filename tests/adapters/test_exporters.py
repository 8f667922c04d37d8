"""Models of libraries that live in an environment of their own: exported there, served here.

Each test makes the environment, which downloads gigabytes: `python -m pytest -m slow tests/adapters/test_exporters.py`.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from foreign import ask_for_new_items, assert_same_above_every_tie

from multirecall import Dataset
from multirecall.progress import SILENT
from multirecall.registry import retriever_class

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
EXPORTERS = HERE.parents[1] / "examples" / "exporters"


def log() -> pl.DataFrame:
    """1,000 users in four groups, each pair once, with what both libraries want to know of an event."""
    rng = np.random.default_rng(8)
    users = rng.integers(0, 1_000, 20_000)
    events = pl.DataFrame({"user_id": users, "item_id": (rng.zipf(1.3, 20_000) + 20 * (users % 4)) % 80})
    events = events.unique(maintain_order=True)
    return events.with_columns(
        weight=pl.lit(1.0),
        rating=(7 * pl.col("user_id") + 3 * pl.col("item_id")) % 5 + 1.0,
        datetime=(1_700_000_000_000_000 + 60_000_000 * pl.int_range(pl.len())).cast(pl.Datetime("us")),
    )


def run_elsewhere(folder: Path, script: str, *packages: str) -> None:
    """Run a script of this folder in a new environment that has `packages`."""
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True, timeout=3_000)
    run(python, folder, script)


def run(python: Path, folder: Path, script: str) -> None:
    file = folder / "log.parquet"
    log().write_parquet(file)
    done = subprocess.run(
        [python, HERE / script, file, folder, EXPORTERS], capture_output=True, text=True, timeout=1_500, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-3_000:]


@pytest.fixture(scope="module")
def of_rectools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rectools")
    run_elsewhere(folder, "asks_rectools.py", "rectools[lightfm,torch]==0.19.0", "pyarrow<22")
    return folder


@pytest.fixture(scope="module")
def of_lenskit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lenskit")
    run_elsewhere(folder, "asks_lenskit.py", "lenskit==2025.8.1")
    return folder


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="RecTools 0.19 is tested on Python 3.11 and 3.12")
@pytest.mark.parametrize("name", ["als", "bpr", "knn", "ease", "svd", "lightfm", "sasrec", "bert4rec"])
def test_recommends_what_rectools_recommends(of_rectools: Path, name: str) -> None:
    assert_same_lists(of_rectools / name)


@pytest.mark.parametrize("name", ["implicit_mf", "prefer_mf", "biased_mf", "knn", "ease", "slim"])
def test_recommends_what_lenskit_recommends(of_lenskit: Path, name: str) -> None:
    assert_same_lists(of_lenskit / name)


def assert_same_lists(folder: Path) -> None:
    """Serve what was exported, and compare 20 items of each user."""
    data = Dataset.from_frames(log().select("user_id", "item_id"))
    [path] = tomllib.loads((folder / "path.toml").read_text())["paths"]
    served = serve(path, data)
    asked = {
        key[0]: frame.sort("score", descending=True)
        for key, frame in pl.read_parquet(folder / "asked.parquet").group_by("user_id")
    }
    n_compared = 0
    for user, query in enumerate(ask_for_new_items(data)):
        theirs = asked.get(data.users.ids.id(user))
        if theirs is None:
            continue
        if path["retriever"] == "lists":
            theirs = theirs.filter(pl.col("score") > 0)
        items = data.items.ids.rows(theirs["item_id"].to_numpy())
        assert_same_above_every_tie(served.retrieve(query, 20), items, theirs["score"].to_numpy())
        n_compared += min(20, items.size)
    assert n_compared > 6_000


def serve(path: dict[str, Any], data: Dataset) -> Any:
    plugin = retriever_class(path["retriever"])
    served = plugin(plugin.Config.model_validate(path["params"]))
    served.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    return served
