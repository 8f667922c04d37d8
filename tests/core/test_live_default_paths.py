"""Live changes through all nine default paths, from a fit to a refit, at the smallest training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from multirecall import Dataset, Engine, EngineConfig, User
from multirecall.datasets import generate

PATIENCE_S = 120
SMALL = {
    "two_tower": {"epochs": 1, "dim": 16},
    "item2vec": {"epochs": 1, "dim": 16},
    "node2vec": {"walks_per_node": 2, "dim": 16},
    "als": {"dim": 8},
}


def test_every_default_path_serves_live_changes_from_fit_to_refit(tmp_path: Path) -> None:
    shop = generate(60, 80, 1_500)
    data = Dataset.from_frames(shop.interactions, shop.items, shop.users)
    paths = tuple(path.model_copy(update={"params": SMALL.get(path.retriever, {})}) for path in EngineConfig().paths)
    engine = Engine(EngineConfig(k=20, paths=paths, cache_size=50)).fit(data)
    assert len(engine.paths) == 9
    users = shop.users["user_id"][:3].to_list()
    gone, sold = engine.retrieve(users[0]).ids[:2].tolist()
    now = shop.interactions["timestamp"].max()
    fresh = shop.items[:2].with_columns(item_id=pl.Series(["fresh-1", "fresh-2"]))

    def hold(engine: Engine) -> None:
        """Every answer has all that is eligible and nothing else, and no path stumbles."""
        data = engine.data
        ids, removed = data.items.ids.ids(), data.removed
        assert removed is not None
        live = set(ids[~removed].tolist())
        for user in [*users, "newcomer", "nobody"]:
            history = data.history(data.users.ids.row(user)).items
            for seen, wanted in ((True, live), (False, live - set(ids[history].tolist()))):
                one = engine.retrieve(user, k=1_000, seen=seen)
                assert set(one.ids.tolist()) == wanted
                assert len(one) == len(wanted)
                assert {path: status.state for path, status in one.status.items()} == dict.fromkeys(engine.paths, "ok")
                batch = engine.retrieve_batch([user], k=1_000, seen=seen)
                assert set(batch[0].ids.tolist()) == wanted
        assert len(engine.retrieve(User(history=["fresh-1", "from-the-log"]))) == 20
        assert engine.explain(users[0], gone).reason == "it was removed"
        assert engine.explain("newcomer", "fresh-1", k=1_000).rank is not None

    engine.add_items(fresh)
    engine.add_interactions(
        shop.interactions[:3].with_columns(
            user_id=pl.Series(["newcomer", "newcomer", users[1]]),
            item_id=pl.Series([sold, "from-the-log", "fresh-2"]),
            timestamp=pl.lit(now),
        )
    )
    engine.update_items(shop.items[2:3].with_columns(item_id=pl.Series(["fresh-2"])))
    engine.remove_items([gone])
    assert [path for path, health in engine.health().paths.items() if health.stale] == []
    hold(engine)
    engine.save(tmp_path / "bundle")
    engine.remove_items([sold])
    answers = [engine.retrieve(user) for user in users]
    engine.close()
    with Engine.load(tmp_path / "bundle") as loaded:
        hold(loaded)
        for answer, user in zip(answers, users, strict=True):
            again = loaded.retrieve(user)
            assert again.ids.tolist() == answer.ids.tolist()
            np.testing.assert_allclose(again.scores, answer.scores, rtol=1e-5)
        loaded.refresh().result(PATIENCE_S)
        hold(loaded)
        assert not any(health.stale for health in loaded.health().paths.values())
