from __future__ import annotations

from collections import defaultdict

import numpy as np
import polars as pl
import pytest

from multirecall.data import Dataset
from multirecall.errors import CannotFit
from multirecall.progress import SILENT
from multirecall.query import Query
from multirecall.retrievers.sequence import Sequence, SequenceConfig
from multirecall.testing import RetrieverContract, small_shop
from multirecall.testing.worlds import queries


class TestSequence(RetrieverContract):
    retriever = Sequence


class TestThreaded(RetrieverContract):
    retriever = Sequence
    params = {"threads": 2, "window": 3, "gap_decay": 1.0, "backward": 0.0, "neighbours": 7, "half_life": None}


def fit_path(data: Dataset, **params: object) -> Sequence:
    path = Sequence(SequenceConfig.model_validate(params))
    path.fit(data, rng=np.random.default_rng(0), progress=SILENT)
    return path


def scores(path: Sequence, *history: int) -> dict[int, float]:
    ranked = path.retrieve(Query(-1, np.array(history, np.int32), np.ones(len(history), np.float32)), 1_000)
    return dict(zip(ranked.items.tolist(), ranked.scores.tolist(), strict=True))


def textbook(data: Dataset, config: SequenceConfig) -> dict[int, dict[int, float]]:
    """The definition, pair of events by pair of events."""
    log = data.interactions
    sums: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    popularity: dict[int, float] = defaultdict(float)
    for item, weight in zip(log.items.tolist(), log.weights.tolist(), strict=True):
        popularity[item] += weight
    for user in range(data.n_users):
        part = log.of_user(user)
        events = list(zip(log.items[part].tolist(), log.weights[part].tolist(), strict=True))
        for p, (earlier, weight_p) in enumerate(events):
            for q, (later, weight_q) in enumerate(events):
                if 0 < q - p <= config.window and weight_p * weight_q > 0:
                    pair = weight_p * weight_q * config.gap_decay ** (q - p - 1)
                    sums[earlier][later] += pair
                    if config.backward:
                        sums[later][earlier] += config.backward * pair
    return {
        s: {
            t: c / (popularity[s] ** config.source_exponent * popularity[t] ** config.target_exponent)
            for t, c in row.items()
        }
        for s, row in sums.items()
    }


def weighted_log() -> Dataset:
    rng = np.random.default_rng(3)
    frame = pl.DataFrame({"user_id": rng.integers(0, 9, 200), "item_id": rng.integers(0, 25, 200)})
    return Dataset.from_frames(
        frame.with_columns(position=pl.Series(np.arange(200)), weight=pl.Series(rng.choice([0.0, 1.0, 3.0], 200)))
    )


@pytest.mark.parametrize("world", ["plain", "weighted"])
@pytest.mark.parametrize("backward", [0.0, 0.1, 1.0])
def test_equals_the_textbook(world: str, backward: float) -> None:
    data = small_shop() if world == "plain" else weighted_log()
    path = fit_path(data, backward=backward, window=4, neighbours=data.n_items)
    expected = textbook(data, path.config)
    for item in range(data.n_items):
        assert scores(path, item) == pytest.approx(expected.get(item, {}), rel=1e-5)


def test_direction_counts() -> None:
    log = pl.DataFrame({"user_id": [1, 1, 2, 2], "item_id": [10, 11, 10, 11], "position": [0, 1, 0, 1]})
    path = fit_path(Dataset.from_frames(log), backward=0.25)
    assert scores(path, 0)[1] == pytest.approx(4 * scores(path, 1)[0])


def test_newer_items_weigh_more() -> None:
    path = fit_path(small_shop(), half_life=2, neighbours=100)
    first, second = scores(path, 2), scores(path, 6)
    both = {item: first.get(item, 0) * 0.5**0.5 + second.get(item, 0) for item in {*first, *second}}
    assert scores(path, 2, 6) == pytest.approx(both, rel=1e-5)


def test_threads_change_nothing() -> None:
    data = small_shop()
    one, two = fit_path(data), fit_path(data, threads=2)
    for query in queries(data):
        assert one.retrieve(query, 20).scores.tolist() == two.retrieve(query, 20).scores.tolist()


def test_log_without_order_is_refused() -> None:
    with pytest.raises(CannotFit, match=r"sequence: .* 'timestamp' or 'position'"):
        fit_path(small_shop(timestamps=False))
