"""Tables in the width that there is: a number is never cut, a label is."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from rich.console import Console

from multirecall.cli.candidate_tables import candidates_table, shorten
from multirecall.cli.evaluate import NEXT, print_closing
from multirecall.cli.screen import print_table
from multirecall.cli.tables import gains_table, plain_table
from multirecall.evaluation import FusionGain, Interval, Report
from multirecall.result import Candidates


def screen(width: int) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=width), out


@pytest.mark.parametrize("width", [30, 44, 80, 81, 200])
def test_a_wide_table_goes_in_parts(width: int) -> None:
    table = plain_table("list")
    for column in range(12):
        table.add_column(f"metric {column}", justify="right")
    for row in range(3):
        table.add_row(f"path {row}", *(f"{row}.{column:04}" for column in range(12)))
    console, out = screen(width)
    print_table(console, table)
    text = out.getvalue()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    assert sorted(re.findall(r"\d\.\d{4}", text)) == sorted(
        f"{row}.{column:04}" for row in range(3) for column in range(12)
    )
    if width == 200:
        assert text.count("path 0") == 1


def report_of(*gains: FusionGain) -> Report:
    return Report("last", 400, 400, 0, 0.0, (20, 100), {}, {}, (), "", gains[1], gains)


WINS = (
    FusionGain("next_item", 20, 400, 0.3, 0.4, Interval(0.1, 0.05, 0.15)),
    FusionGain("popularity", 100, 400, 0.5, 0.6, Interval(0.1, 0.05, 0.15)),
)
LOST = FusionGain("next_item", 20, 400, 0.376, 0.338, Interval(-0.038, -0.05, -0.026), "ndcg")


@pytest.mark.parametrize("width", [60, 80, 200])
def test_gains_over_the_best_path_in_any_width(width: int) -> None:
    console, out = screen(width)
    print_table(console, gains_table(report_of(*WINS, LOST)))
    text = out.getvalue()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for part in ("recall@100", "0.3760 next_item", "0.3380", "-0.0380 [-0.0500, -0.0260]", "loses"):
        assert part in text
    if width >= 80:
        assert text.count("ndcg@20") == 1, "one table"


def test_the_closing_says_where_the_fused_list_loses() -> None:
    console, out = screen(200)
    print_closing(console, report_of(*WINS, LOST))
    text = out.getvalue()
    assert "finds 20.0% more than the best path (popularity) at k = 100" in text
    assert "loses to the best path in 1 of 3 comparisons: ndcg at k = 20 (-10.1% to next_item)." in text
    assert NEXT["loses"] in text
    console, out = screen(200)
    print_closing(console, report_of(*WINS))
    assert "loses" not in out.getvalue()
    assert NEXT["gains"] in out.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
def test_candidates_in_any_width(width: int) -> None:
    paths = ("item_cf", "a-path-with-a-long-name", "content", "two_tower", "popularity", "ease")
    ids = np.array(["short", "an-id-of-forty-characters-that-must-stay-", "日本"])
    ranks = np.array([[0, 499, -1, 12345, 3, -1], [1, -1, -1, -1, -1, -1], [2, 3, 4, 5, 6, 7]], np.int32)
    scores = np.array([12.25, 0.03278688524590164, 1.5e-7])
    result = Candidates(ids, scores, ranks, paths, {}, 0, 0)
    console, out = screen(width)
    console.print(
        candidates_table(console, result, ["[b]bold[/b] label of many words", "", "日本語の題名がここにある" * 3])
    )
    lines = out.getvalue().splitlines()
    folded = "".join(line.strip() for line in lines).replace(" ", "")
    for score in ("12.2500", "0.0328", "1.5e-07"):
        assert score in folded
    text = "".join("".join(line.split()) for line in lines)
    assert "short" in text
    if width >= 80:
        for rank in ("499", "12345"):
            assert rank in out.getvalue()


def test_a_label_is_cut_by_cells() -> None:
    assert shorten("one  two\nthree", 40) == "one two three"
    assert shorten("abcdefgh", 5) == "abcd…"
    assert shorten("日本語の題名", 5) == "日本…"
