"""A bundle of this format that an earlier release has written loads, and answers as it did."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from kept_bundle import ANSWERS, FOLDER, SMALL, answers

from multirecall import Engine
from multirecall.engine.bundle.versions import FORMAT


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return shutil.copytree(FOLDER, tmp_path / "bundle")


def test_it_answers_as_when_it_was_written(kept: Path) -> None:
    expected = json.loads(ANSWERS.read_text(encoding="utf-8"))
    with Engine.load(kept) as engine:
        assert engine.paths == tuple(SMALL)
        found = answers(engine)
    for user, lists in expected.items():
        for path, (ids, scores) in lists.items():
            own_ids, own_scores = found[user][path]
            # another processor may sum in another order, so that what is all but equal may change places
            np.testing.assert_allclose(own_scores, scores, rtol=1e-4, atol=1e-5, err_msg=f"{user}, {path}")
            assert_equal_but_for_near_ties(own_ids, own_scores, ids, scores)
    assert not {path for lists in found.values() for path, (ids, _) in lists.items() if "i9" in ids}, "it was removed"
    assert "new" in found["searching"]["fused"][0], "the journal was replayed"


def assert_equal_but_for_near_ties(
    own: list[str], own_scores: list[float], ids: list[str], scores: list[float]
) -> None:
    theirs = dict(zip(ids, scores, strict=True))
    for item, score in zip(own, own_scores, strict=True):
        assert abs(theirs.get(item, scores[-1]) - score) <= 1e-5 + 1e-4 * abs(score), item


def test_it_can_be_written_to_and_saved(kept: Path) -> None:
    with Engine.load(kept) as engine:
        engine.remove_items(["i5"])
        engine.refresh().result(120)
        engine.save(kept)
    with Engine.load(kept) as engine:
        assert "i5" not in engine.retrieve("u7", k=60).ids


def test_there_is_one_of_this_format() -> None:
    assert FOLDER.name == f"bundle-format-{FORMAT}"
