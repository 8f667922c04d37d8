"""Estimates beside the truth, on a few simulated logs; `bench_counterfactual.py` counts coverage over hundreds."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from multirecall.monitoring.replay import Estimates, replay
from multirecall.monitoring.replay.estimates import clustered
from multirecall.online import Exploration

ROOT = Path(__file__).resolve().parents[2]


def test_intervals_cover_what_a_config_is_worth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    simulated = import_module("_simulated_log")
    people = simulated.People.of(500, 0.05, 3)
    truth, covered = people.worth(simulated.TRIED), []
    for seed in range(6):
        later = simulated.simulate(people, Exploration(slots=5, share=0.5), 150, tmp_path / str(seed), seed)
        found = replay(tmp_path / str(seed), simulated.TRIED, later).estimates
        assert isinstance(found, Estimates)
        assert found.unsupported == 0
        covered += [one.low <= truth <= one.high for one in (found.ips, found.snips, found.dr)]
    assert np.mean(covered) > 0.7


def test_an_interval_without_skewness_is_that_of_student() -> None:
    errors = np.array([-1.0, 1.0, -2.0, 2.0])
    found = clustered(5.0, errors)
    half = 3.182446 * errors.std(ddof=1) / 2
    assert (found.low, found.high) == pytest.approx((5 - half, 5 + half), rel=1e-5)
