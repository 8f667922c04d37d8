"""Bars: they end where their work ends, and tell a time only where it can be told."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace

import pytest
from foreign import adapter_params
from rich.console import Console
from rich.progress import Progress as RichProgress

from multirecall import Dataset, Engine, EngineConfig
from multirecall.datasets import generate
from multirecall.progress import SILENT, Advance, terminal_progress
from multirecall.progress.notebook import NotebookBars
from multirecall.progress.terminal import Bars, _Remaining, terminal_bars
from multirecall.testing import small_shop


class Heard:
    """Keeps what tasks reported."""

    def __init__(self) -> None:
        self.tasks: dict[str, list[int]] = {}

    @contextmanager
    def task(self, name: str, total: int, *, steady: bool = True) -> Iterator[Advance]:
        done = self.tasks.setdefault(name, [0, total])

        def advance(steps: int, note: str = "") -> None:
            done[0] += steps

        yield advance


class Cell:
    """Stands for the output of a notebook's cell."""

    def __init__(self) -> None:
        self.pages: list[str] = []

    def update(self, shown: NotebookBars) -> None:
        self.pages.append(shown._repr_html_())


def test_every_task_of_a_fit_reaches_its_end(tmp_path: Path) -> None:
    names = [point.name for point in entry_points(group="multirecall.retrievers")]
    params = {"two_tower": {"epochs": 2, "patience": 9}, **adapter_params(tmp_path, small_shop())}
    paths = [{"retriever": name, "params": params.get(name, {})} for name in names]
    config = EngineConfig.model_validate({"paths": paths})
    heard = Heard()
    Engine(config).fit(small_shop(), progress=heard)
    assert all(done == total for done, total in heard.tasks.values()), heard.tasks
    assert heard.tasks["fitting all paths"] == [len(names), len(names)], "a path serves as the fallback, too"
    assert "compiling what requests need" in heard.tasks
    assert all(": " in name or name.startswith(("fitting", "compiling")) for name in heard.tasks)


def test_a_training_that_stops_early_says_that_its_steps_are_the_most() -> None:
    params = {"epochs": 40, "patience": 1, "batch": 256, "dim": 8, "held_out": 2_000}
    config = EngineConfig.model_validate({"paths": [{"retriever": "two_tower", "params": params}]})
    heard = Heard()
    Engine(config).fit(Dataset.from_frames(generate(2_000, 50, 12_000).interactions), progress=heard)
    early = {name: done for name, done in heard.tasks.items() if done[0] < done[1]}
    assert len(early) == 1
    assert all(name.startswith("two_tower: ") and "at most" in name for name in early)


@pytest.mark.parametrize("width", [80, 140])
def test_a_bar_tells_which_path_how_far_and_how_long_whatever_the_note(width: int) -> None:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None)
    with (
        terminal_bars(console) as bars,
        bars.task("fitting all paths", 10, steady=False) as every,
        bars.task("two_tower: training, batches at most", 1_050) as advance,
    ):
        every(0, "now two_tower")
        advance(400, "epoch 4, loss 5.432, recall@100 0.345")
    whole, one = out.getvalue().rsplit("\n", 2)[-3:-1]
    assert "fitting all paths" in whole
    assert "two_tower: training" in one
    assert "400/400" in one
    assert "0:00:0" in one
    assert "…" not in one.partition("400/400")[2].partition("epoch")[0]


def test_a_task_that_stops_early_is_complete() -> None:
    bars = RichProgress(console=Console(file=io.StringIO()))
    with Bars(bars).task("training", 100) as advance:
        advance(7)
    assert bars.tasks[0].finished
    assert (bars.tasks[0].completed, bars.tasks[0].total) == (7, 7)
    cell = Cell()
    with NotebookBars(cell).task("training", 100) as advance:
        advance(7)
    assert "value='7' max='7'" in cell.pages[-1]
    assert "left" not in cell.pages[-1]


def test_a_task_that_fails_is_not_complete() -> None:
    bars = RichProgress(console=Console(file=io.StringIO()))
    with pytest.raises(KeyError), Bars(bars).task("training", 100):
        raise KeyError
    assert not bars.tasks[0].finished
    cell = Cell()
    with pytest.raises(KeyError), NotebookBars(cell).task("training", 100):
        raise KeyError
    assert "max='100'" in cell.pages[-1]


def test_only_steady_steps_have_a_time_left() -> None:
    clock = [0.0]
    bars = RichProgress(console=Console(file=io.StringIO()), get_time=lambda: clock[0])
    for steady in (True, False):
        task = bars.add_task("x", total=10, note="", steady=steady)
        for _ in range(3):
            clock[0] += 10
            bars.update(task, advance=1)
    texts = [_Remaining().render(task).plain for task in bars.tasks]
    assert texts[0].startswith("0:0")
    assert texts[1] == ""


def test_a_notebook_escapes_and_shows_notes() -> None:
    cell = Cell()
    bars = NotebookBars(cell)
    with bars.task("a <b>", 3, steady=False) as advance:
        advance(1, "best & fast")
        bars.draw()
    assert "a &lt;b&gt;" in cell.pages[-1]
    assert "best &amp; fast" in cell.pages[-1]
    assert "<b>" not in "".join(cell.pages)


def test_a_notebook_is_known_by_its_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell()
    display = SimpleNamespace(HTML=str, display=lambda *_, display_id: cell)
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    with terminal_progress() as progress, progress.task("work", 2) as advance:
        advance(2)
    assert "work" in cell.pages[-1]
    del shell.kernel
    with terminal_progress() as progress:
        assert progress is SILENT, "the IPython of a terminal that is piped"


def test_without_a_terminal_each_path_is_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "multirecall.engine")
    paths = [{"retriever": "content"}, {"retriever": "item_cf", "name": "like"}]
    Engine(EngineConfig.model_validate({"paths": paths})).fit(small_shop())
    lines = [record.getMessage() for record in caplog.records if "fitted in" in record.getMessage()]
    assert {line.split(" fitted in ")[0] for line in lines} == {"fallback", "content", "like"}
    assert [line.rpartition(" s ")[2] for line in lines] == ["(1 of 3)", "(2 of 3)", "(3 of 3)"]
