"""One half of the users decides which settings are best, the other half only whether their gain holds up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from multirecall import Dataset
from multirecall.csr import offsets_of
from multirecall.datasets import generate
from multirecall.learning.hold_out import HeldOut, hold_out
from multirecall.learning.settings import SettingsOutcome, choose_settings
from multirecall.lists import RankedBatch, RankedList
from multirecall.progress import SILENT, Progress
from multirecall.protocols import Answer, PluginConfig, Retriever, Trials
from multirecall.query import Query
from multirecall.validation import AUTO, Auto, Count

SIZES = (1, 3, 2)


class SizeConfig(PluginConfig):
    """The number of hits in a list."""

    priors: ClassVar[Mapping[str, Any]] = {"size": 1}

    size: Auto[Count] = AUTO
    """The number of hits. Changes results."""


class Knows(Retriever):
    """Proposes the targets of a request themselves, `size` of them at most, and notes what it is asked for."""

    Config = SizeConfig
    held_out: ClassVar[HeldOut]
    asked: ClassVar[list[tuple[int, NDArray[np.int64]]]]

    def fit(self, data: Dataset, *, rng: np.random.Generator, progress: Progress) -> None:
        raise NotImplementedError

    def retrieve(self, query: Query, quota: int) -> RankedList:
        raise NotImplementedError

    def save(self, folder: Any) -> None:
        raise NotImplementedError

    @classmethod
    def load(cls, config: Any, folder: Any, data: Dataset) -> Knows:
        raise NotImplementedError

    def choose_settings(self, data: Dataset, trials: Trials, *, rng: np.random.Generator, progress: Progress) -> None:
        def answer(size: int) -> Answer:
            def lists(places: NDArray[np.int64]) -> RankedBatch:
                self.asked.append((size, places))
                bounds = self.held_out.offsets
                own = [self.held_out.targets[bounds[place] : bounds[place + 1]][:size] for place in places]
                items = np.concatenate(own)
                return RankedBatch(offsets_of([one.size for one in own]), items, np.ones(items.size, np.float32))

            return lists

        self.scores = [trials.score(SizeConfig(size=size), answer(size)) for size in SIZES]


@pytest.fixture
def outcome() -> SettingsOutcome:
    data = Dataset.from_frames(*generate(800, 120, 16_000, seed=1))
    held_out = hold_out(data, "while", 0)
    assert held_out is not None
    assert np.diff(held_out.offsets).max() >= max(SIZES)
    Knows.held_out, Knows.asked = held_out, []
    nothing = np.empty(0, np.int32)
    queries = [Query(-1, nothing, np.empty(0, np.float32), exclude=nothing) for _ in range(len(held_out))]
    return choose_settings(Knows, SizeConfig(), held_out, queries, np.random.default_rng(0), SILENT)


def test_the_priors_answer_all_requests_others_those_of_one_half(outcome: SettingsOutcome) -> None:
    assert [size for size, _ in Knows.asked] == [1, 3, 2, 3]
    every, first, other, second = (places for _, places in Knows.asked)
    assert every.tolist() == list(range(len(Knows.held_out)))
    assert first.tolist() == other.tolist()
    assert sorted([*first, *second]) == every.tolist()
    owners = Knows.held_out.owners
    assert not {*owners[first].tolist()} & {*owners[second].tolist()}


def test_the_best_of_the_first_half_is_kept_where_it_gains_on_the_second(outcome: SettingsOutcome) -> None:
    assert outcome.values == {"size": 3}
    assert outcome.n_tried == len(SIZES)
    assert outcome.kept
    assert outcome.gain is not None
    assert outcome.gain.low > 0
