"""The values of the paths."""

from __future__ import annotations

import html
import json
import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from itertools import permutations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from multirecall import Engine, EngineConfig
from multirecall.errors import RequestError
from multirecall.evaluation import (
    CATALOGUE_METRICS,
    EXPLAINED,
    METRICS,
    PathEmbeddings,
    SegmentFigures,
    Split,
    ValueReport,
    describe_losses,
    embedding_health,
    evaluate,
    explain_metrics,
    fusion_gain,
    fusion_gains,
    item_map,
    page,
    path_values,
    retrieve_lists,
    score_lists,
    shapley,
    time_split,
    write_page,
)
from multirecall.evaluation.figures import colour
from multirecall.evaluation.value import hit_counts, ms_per_hit, overlap, recalls
from multirecall.fusion.cascade import Cascade, CascadeConfig
from multirecall.lists import RankedBatch, RankedList
from multirecall.testing import small_shop


def by_orders(n: int, v: Any) -> list[float]:
    """The definition: what each player adds, averaged over all orders."""
    values = [0.0] * n
    orders = list(permutations(range(n)))
    for order in orders:
        for place, player in enumerate(order):
            before = frozenset(order[:place])
            values[player] += (v(before | {player}) - (v(before) if before else 0.0)) / len(orders)
    return values


def worth(players: frozenset[int]) -> float:
    """A game whose values depend on which players are together."""
    return float(np.sqrt(sum((player + 1) ** 2 for player in players)) + 0.3 * (players >= {0, 2}))


@pytest.mark.parametrize("n", [1, 2, 5])
def test_shapley_values_are_the_mean_over_orders(n: int) -> None:
    found = shapley(n, worth)
    assert found.exact
    assert found.values == pytest.approx(by_orders(n, worth))
    assert sum(found.values) == pytest.approx(worth(frozenset(range(n))))


def test_drawn_orders_come_near_and_keep_the_sum() -> None:
    found = shapley(5, worth, exact_up_to=4, orders=200)
    assert not found.exact
    assert found.values == pytest.approx(by_orders(5, worth), abs=0.1)
    assert sum(found.values) == pytest.approx(worth(frozenset(range(5))))
    asked: list[frozenset[int]] = []
    shapley(12, lambda players: asked.append(players) or 1.0, orders=4)  # type: ignore[func-returns-value]
    assert len(asked) == len(set(asked)), "each subset is asked for once"


def batch(*lists: list[int]) -> RankedBatch:
    return RankedBatch.from_lists(
        [RankedList(np.array(one, np.int32), -np.arange(len(one), dtype=np.float32)) for one in lists]
    )


def test_overlap_written_out() -> None:
    first, second = batch([1, 2, 3, 4], [5], []), batch([4, 2], [6], [7])
    assert overlap(first, second, 4) == (2 / 4 + 0) / 2, "a user without a list says nothing"
    assert overlap(second, first, 2) == (1 / 2 + 0 + 0) / 3
    assert overlap(batch([]), second, 2) == 0.0


@pytest.fixture(scope="module")
def measured() -> tuple[Any, Any, ValueReport]:
    split = time_split(small_shop(), 0.3)
    config = {"paths": [{"retriever": name, "quota": 20} for name in ("item_cf", "content", "popularity")]}
    engine = Engine(EngineConfig.model_validate(config)).fit(split.train)
    lists = retrieve_lists(engine, split, 10)
    return engine, lists, path_values(engine, lists, 10)


def test_hits_written_out() -> None:
    split = time_split(small_shop(), 0.3)
    split = split.take(np.array([np.diff(split.offsets).argmax()]), "the user with most targets")
    own = split.targets.tolist()
    free = [row for row in range(split.train.n_items) if row not in own]
    assert len(own) >= 2
    found, unique = hit_counts([batch([own[0], own[1], free[0]]), batch([own[1]]), batch([free[1]])], split)
    assert found.tolist() == [2, 1, 0]
    assert unique.tolist() == [1, 0, 0]


def test_values_are_those_of_engines_without_the_path(measured: tuple[Any, Any, ValueReport]) -> None:
    engine, lists, report = measured
    split = lists.split
    assert sum(path.shapley for path in report.paths.values()) == pytest.approx(report.recall)
    assert report.exact
    for name in engine.paths:
        paths = [path.model_copy(update={"enabled": path.name != name}) for path in engine.config.paths]
        without = Engine(engine.config.model_copy(update={"paths": tuple(paths)})).fit(split.train)
        left = evaluate(without, split, [10]).figures["fused"]["recall"][0]
        assert report.paths[name].loss.mean == pytest.approx(report.recall - left)
        assert report.paths[name].loss.low <= report.paths[name].loss.mean <= report.paths[name].loss.high
        assert report.paths[name].ms > 0
    alone = evaluate(engine, split, [10]).figures
    assert {name: path.recall for name, path in report.paths.items()} == {
        name: pytest.approx(alone[name]["recall"][0]) for name in engine.paths
    }
    assert report.curve["fused"][report.curve_ks.index(10)] == pytest.approx(report.recall)
    assert all(row[name] == 1.0 for name, row in report.overlap.items())
    json.dumps(report.to_dict(), allow_nan=False)


def test_weights_and_fusions_of_segments_are_those_of_the_engine() -> None:
    split = time_split(small_shop(), 0.3)
    config: dict[str, Any] = {
        "paths": [{"retriever": name, "quota": 20} for name in ("item_cf", "popularity")],
        "segments": [{"max_history": 12, "weights": {"popularity": 9.0}}],
    }
    engine = Engine(EngineConfig.model_validate(config)).fit(split.train)
    report = path_values(engine, retrieve_lists(engine, split, 10), 10)
    assert report.recall == pytest.approx(evaluate(engine, split, [10]).figures["fused"]["recall"][0])
    without = Engine(EngineConfig.model_validate({"paths": config["paths"]})).fit(split.train)
    assert report.recall != pytest.approx(evaluate(without, split, [10]).figures["fused"]["recall"][0])
    config["segments"][0]["fusion"] = {"strategy": "cascade"}
    engine = Engine(EngineConfig.model_validate(config)).fit(split.train)
    cascaded = path_values(engine, retrieve_lists(engine, split, 10), 10)
    assert cascaded.recall == pytest.approx(evaluate(engine, split, [10]).figures["fused"]["recall"][0])
    assert cascaded.recall != pytest.approx(report.recall)


def test_a_cascade_counts_no_more_than_its_quotas() -> None:
    split = time_split(small_shop(), 0.3)
    names = ("popularity", "item_cf", "content")
    config = {"paths": [{"retriever": name, "quota": 6} for name in names], "fusion": {"strategy": "cascade"}}
    engine = Engine(EngineConfig.model_validate(config)).fit(split.train)
    users = split.users[:7].tolist()
    own, windows = engine.path_lists(users), engine.path_lists(users, windows=True)
    alone = Engine(EngineConfig.model_validate({"paths": config["paths"]})).fit(split.train).path_lists(users)
    for name in names:
        assert np.diff(own[name].offsets).max() <= 6
        assert own[name].items.tolist() == alone[name].items.tolist(), "what the path is asked for without a cascade"
    assert max(np.diff(windows["content"].offsets)) > 6, "the fusion looks behind the quota"
    many = engine.retrieve_batch(users, 18).status
    for user in users:
        status = engine.retrieve(user, 18).status
        assert all(status[name].count <= 6 for name in names)
    assert {name: one.count for name, one in many.items()} == {name: own[name].items.size for name in names}
    lists = retrieve_lists(engine, split, 18)
    report = path_values(engine, lists, 18)
    expected, unique = hit_counts([lists.paths[name] for name in names], split)
    assert [report.paths[name].hits for name in names] == expected.tolist()
    assert [report.paths[name].unique_hits for name in names] == unique.tolist()
    own_recall = evaluate(engine, split, [6]).figures
    assert {name: report.paths[name].recall for name in names} == {
        name: pytest.approx(own_recall[name]["recall"][0]) for name in names
    }, "no path has more than six items, so k = 18 finds what k = 6 does"
    fused = engine.retrieve_batch(users, 18)
    from_windows = Cascade(CascadeConfig()).fuse_batch(list(windows.values()), [1.0] * 3, [6] * 3, 18)
    for user in range(len(users)):
        paths_only = len(fused[user]) - fused[user].n_backfilled
        rows = engine.data.items.ids.rows(fused[user].ids[:paths_only])
        assert rows.tolist() == from_windows[user].items.tolist()


def test_a_path_that_adds_nothing_has_no_price_for_a_hit() -> None:
    """Two paths that are one: without either, the sums differ by rounding at most."""
    split = time_split(small_shop(), 0.3)
    twins = [{"name": name, "retriever": "item_cf", "quota": 20} for name in ("first", "second")]
    engine = Engine(EngineConfig.model_validate({"paths": twins})).fit(split.train)
    report = path_values(engine, retrieve_lists(engine, split, 10), 10)
    assert [path.ms_per_extra_hit for path in report.paths.values()] == [None, None]
    assert [path.loss.mean for path in report.paths.values()] == [0.0, 0.0]


def test_the_price_of_a_hit_is_in_hits_not_in_rounding() -> None:
    split = time_split(small_shop(), 0.3)
    config = {"paths": [{"retriever": name, "quota": 20} for name in ("item_cf", "popularity")]}
    engine = Engine(EngineConfig.model_validate(config)).fit(split.train)
    lists = retrieve_lists(engine, split, 10)
    report = path_values(engine, lists, 10)
    found = evaluate(engine, split, [10])
    assert found.gain is not None
    n_targets = np.diff(split.offsets)
    whole = recalls(_fuse(engine, split), split, [10])[:, 0] * n_targets
    alone = recalls(lists.paths["popularity"], split, [10])[:, 0] * n_targets
    extra = round(whole.sum()) - round(alone.sum())
    price = report.paths["item_cf"].ms_per_extra_hit
    assert (price is None) == (extra <= 0)
    if price is not None:
        assert price == pytest.approx(report.paths["item_cf"].ms / (extra / split.users.size))
    assert [ms_per_hit(one) for one in (None, 0.5, 12.3456, 5_846_517.4)] == ["–", "0.500", "12.346", "5,846,517"]


def _fuse(engine: Engine, split: Split) -> RankedBatch:
    found = engine.retrieve_batch(split.users, 10)
    return RankedBatch(found.offsets, found.items, found.scores.astype(np.float32))


def test_the_gain_is_paired_and_says_what_it_cannot_tell() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(400)
    weak = {"weak": base * 0.5, "best": base}
    sure = fusion_gain({**weak, "fused": base + 0.01}, 20)
    assert sure is not None
    assert (sure.path, sure.k, sure.n_users, sure.outcome) == ("best", 20, 400, "gains")
    assert [sure.gain.low, sure.gain.high] == [pytest.approx(0.01), pytest.approx(0.01)], (
        "paired: the users' own spread is gone"
    )
    assert f"finds {0.01 / base.mean():.1%} more than the best path (best) at k = 20" in str(sure)
    worse = fusion_gain({**weak, "fused": base - 0.02}, 20)
    assert worse is not None
    assert worse.outcome == "loses"
    assert "less than the best path" in str(worse)
    unclear = fusion_gain({**weak, "fused": base + rng.normal(0, 0.5, 400)}, 20)
    assert unclear is not None
    assert unclear.outcome == "unclear"
    assert "cannot be told" in str(unclear)
    assert fusion_gain({"one": base, "fused": base}, 20) is None
    zero = fusion_gain({"a": base * 0, "b": base * 0, "fused": base}, 5)
    assert zero is not None
    assert "nothing" in str(zero)


def by_hand() -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """Recall and NDCG (2, 400, 3) of two paths and the fused list: `short` is best at k = 10, `long` at 20 and 100."""
    rng = np.random.default_rng(1)
    base = 0.2 + 0.1 * rng.random((2, 400, 3))
    short, long = base + np.array([0.1, 0.0, 0.0]), base + np.array([0.0, 0.1, 0.3])
    fused = np.maximum(short, long)
    fused[0, :, 0] += 0.01
    fused[0, :, 1] -= 0.02
    fused[0, :, 2] += np.where(np.arange(400) % 2, 0.2, -0.2)
    fused[1, :, 0] -= 0.03
    return {"short": short, "long": long, "fused": fused}


def test_the_fused_list_is_compared_at_each_k_with_the_path_that_is_best_there() -> None:
    values = by_hand()
    gains = fusion_gains(values, ("recall", "ndcg"), (10, 20, 100))
    assert [(one.metric, one.k) for one in gains] == [
        (metric, k) for metric in ("recall", "ndcg") for k in (10, 20, 100)
    ]
    assert [one.path for one in gains] == ["short", "long", "long"] * 2
    assert [one.outcome for one in gains] == ["gains", "loses", "unclear", "loses", "unclear", "unclear"]
    assert [one.gain.mean for one in gains] == pytest.approx([0.01, -0.02, 0.0, -0.03, 0.0, 0.0])
    assert [one.gain.high for one in gains[:2]] == pytest.approx([0.01, -0.02]), "paired: the users' spread is gone"
    assert gains[1].best == pytest.approx(values["long"][0, :, 1].mean())
    assert gains[2].gain.low == pytest.approx(-0.0196, abs=0.003), "the mean of 400 coins of ± 0.2"
    assert fusion_gains({"one": values["long"], "fused": values["fused"]}, ("recall", "ndcg"), (10, 20, 100)) == ()
    assert fusion_gains({name: own for name, own in values.items() if name != "fused"}, ("recall",), (10,)) == ()


def test_a_loss_at_any_k_is_said_in_words() -> None:
    gains = fusion_gains(by_hand(), ("recall", "ndcg"), (10, 20, 100))
    said = describe_losses(gains)
    assert said is not None
    assert "loses to the best path in 2 of 6 comparisons" in said
    assert f"recall at k = 20 (-{0.02 / gains[1].best:.1%} to long)" in said
    assert f"ndcg at k = 10 (-{0.03 / gains[3].best:.1%} to short)" in said
    assert "k = 100" not in said
    assert describe_losses([one for one in gains if one.outcome != "loses"]) is None
    assert "The ndcg of the fused list is" in str(gains[3])
    assert "lower than that of the best path (short) at k = 10" in str(gains[3])
    assert "has a higher ndcg than the best path (long) at k = 20 cannot be told" in str(gains[4])


def test_the_report_has_the_gain_in_both_metrics_at_each_k(measured: tuple[Any, Any, ValueReport]) -> None:
    _, lists, _ = measured
    report = score_lists(lists, [5, 10])
    assert [(one.metric, one.k) for one in report.gains] == [
        (metric, k) for metric in ("recall", "ndcg") for k in (5, 10)
    ]
    assert report.gain == report.gains[1]
    for one in report.gains:
        means = {name: own[one.metric][report.ks.index(one.k)] for name, own in report.figures.items()}
        assert one.fused == pytest.approx(means.pop("fused"))
        assert one.best == pytest.approx(max(means.values())) == pytest.approx(means[one.path])
        assert one.gain.mean == pytest.approx(one.fused - one.best)
    stored = json.loads(json.dumps(report.to_dict()))
    assert stored["gain"] == stored["gains"][1]
    assert [one["outcome"] for one in stored["gains"]] == [one.outcome for one in report.gains]


def test_every_metric_is_explained() -> None:
    assert list(EXPLAINED) == [*METRICS, "diversity", *CATALOGUE_METRICS]
    assert all(len(line) < 130 for line in explain_metrics(EXPLAINED))


def test_every_path_has_a_colour_of_its_own() -> None:
    colours = [colour(number) for number in range(60)]
    assert len(set(colours)) == 60
    assert all(re.fullmatch("#[0-9A-F]{6}", one) for one in colours)


HOSTILE = "</script><script>alert(1)</script> <img src=x onerror='alert(2)'> \" ' & {{ 7 * 7 }} {% raw %}"


@pytest.fixture
def plots() -> None:
    for library in ("matplotlib", "jinja2"):
        pytest.importorskip(library, reason=f"{library} is not installed: multirecall[plots]")


@pytest.mark.usefixtures("plots")
def test_the_page_begins_with_its_facts(measured: tuple[Any, Any, ValueReport]) -> None:
    _, lists, report = measured
    figures = score_lists(lists, [10])
    text = page(figures, report, {"data set": "<shop>", "written": "2031-02-03"})
    assert "&lt;shop&gt;" in text
    assert "2031-02-03" in text
    assert text.index(lists.split.name) < text.index("<img")
    assert str(figures.gain) in html.unescape(text)
    gains = fusion_gains(by_hand(), ("recall", "ndcg"), (10, 20, 100))
    assert "loses to the best path" not in page(replace(figures, gains=gains[:1]), report)
    lost = html.unescape(page(replace(figures, gains=gains), report))
    assert str(describe_losses(gains)) in lost
    for one in gains:
        row = (f"{one.metric}@{one.k}", one.path, f"{one.best:.4f}", f"{one.fused:.4f}", f"{one.gain.mean:+.4f}")
        assert "".join(f"<td>{cell}</td>" for cell in row) in lost


@pytest.mark.usefixtures("plots")
def test_the_page_needs_nothing_beside_it(measured: tuple[Any, Any, ValueReport]) -> None:
    _, lists, report = measured
    text = page(score_lists(lists, [5, 10]), report)
    for outside in ("<script", "<link", "@import", "http:", "https:"):
        assert outside not in text
    images = re.findall(r'src="([^"]*)"', text)
    assert len(images) == text.count("<img ") == text.count("src=") == 4
    for image in images:
        form, encoded = image.split(",")
        assert form == "data:image/svg+xml;base64"
        assert ElementTree.fromstring(b64decode(encoded)).tag == "{http://www.w3.org/2000/svg}svg"
    for part in ("item_cf", "Overlap of the paths", "At k = 5", "Shapley", "events train", "fused"):
        assert part in text


class Elements(HTMLParser):
    """The elements of a page with their attributes, but for the images, all its text, and its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, [(name, value) for name, value in attrs if name != "src"]))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts.append(data)
        else:
            self.text += data


@pytest.mark.usefixtures("plots")
def test_hostile_text_is_text_and_nothing_else(measured: tuple[Any, Any, ValueReport]) -> None:
    """Wherever it stands, the page has the same elements as with a harmless text, and shows every character."""
    _, lists, worth = measured

    def shown(name: str) -> Elements:
        report = score_lists(lists, [10])
        figures = {name if path == "item_cf" else path: values for path, values in report.figures.items()}
        bounds = {name if path == "item_cf" else path: values for path, values in report.intervals.items()}
        own = SegmentFigures(name, 3, {path: {"recall": [0.5]} for path in figures})
        gains = tuple(replace(one, path=name) for one in fusion_gains(by_hand(), ("recall", "ndcg"), (10, 20, 100)))
        report = replace(
            report,
            split=name,
            statement=name,
            figures=figures,
            intervals=bounds,
            segments=(own, own),
            gain=gains[0],
            gains=gains,
        )
        return Elements(page(report, worth, {name: name}))

    hostile, harmless = shown(HOSTILE), shown("a shop")
    assert hostile.tags == harmless.tags
    assert hostile.text == harmless.text.replace("a shop", HOSTILE)
    assert HOSTILE in hostile.text


@pytest.mark.usefixtures("plots")
def test_titles_reach_the_script_of_a_map_as_data(measured: tuple[Any, Any, ValueReport]) -> None:
    engine, lists, worth = measured
    vectors = np.random.default_rng(1).normal(size=(9, 4))
    items = item_map(engine.data.items, engine.data.items.ids.ids()[:9], vectors)

    def shown(name: str) -> Elements:
        groups = [(name, colour) for _, colour in items.groups]
        drawn = replace(items, labels=[name] * 9, field=name, groups=groups)
        looked = PathEmbeddings(name, embedding_health(vectors), drawn, name)
        return Elements(page(score_lists(lists, [10]), worth, {}, [looked]))

    hostile, harmless = shown(HOSTILE), shown("a shop")
    assert hostile.tags == harmless.tags
    data, script = hostile.scripts
    assert not set("<>&'") & set(data)
    assert json.loads(data)["labels"] == [HOSTILE] * 9
    assert json.loads(data)["points"] == [list(point) for point in items.points]
    assert script == harmless.scripts[1], "the script itself holds no data"
    assert HOSTILE not in script
    assert hostile.text == harmless.text.replace("a shop", HOSTILE)


@pytest.mark.usefixtures("plots")
def test_a_page_that_cannot_be_written(measured: tuple[Any, Any, ValueReport], tmp_path: Path) -> None:
    _, lists, report = measured
    with pytest.raises(
        RequestError, match=r"page\.html: cannot be written \(No such file or directory\); check the folder"
    ):
        write_page(score_lists(lists, [5]), report, tmp_path / "nowhere" / "page.html")


def test_report_has_intervals_and_segments(measured: tuple[Any, Any, ValueReport]) -> None:
    _, lists, _ = measured
    report = score_lists(lists, [5, 10])
    for name, figures in report.figures.items():
        for metric, bounds in report.intervals[name].items():
            for mean, (low, high) in zip(figures[metric], bounds, strict=True):
                assert low <= mean + 1e-12
                assert mean <= high + 1e-12
    total = sum(segment.n_users for segment in report.segments)
    assert total == report.n_users
    mean = sum(one.n_users * one.figures["fused"]["recall"][1] for one in report.segments) / total
    assert mean == pytest.approx(report.figures["fused"]["recall"][1])
    assert report.figures["item_cf"].keys() >= {"diversity", "gini", "long_tail", "map"}
    json.dumps(report.to_dict(), allow_nan=False)
