"""The default engine on a generated log: what each of its paths is there for."""

from __future__ import annotations

import numpy as np

from multirecall import Dataset, Engine
from multirecall.datasets import generate
from multirecall.evaluation import time_split


def test_each_path_finds_relevant_items_that_no_other_finds() -> None:
    log = generate(400, 600, 20_000)
    split = time_split(Dataset.from_frames(log.interactions, log.items, log.users))
    engine = Engine().fit(split.train)
    lists = engine.path_lists(split.users)
    assert list(lists) == [
        "two_tower",
        "item2vec",
        "node2vec",
        "item_cf",
        "content",
        "popularity",
        "next_item",
        "ease",
        "als",
    ]
    hits: dict[str, set[tuple[int, int]]] = {path: set() for path in lists}
    for path, batch in lists.items():
        for user in range(split.users.size):
            targets = split.targets[split.offsets[user] : split.offsets[user + 1]]
            hits[path] |= {(user, item) for item in np.intersect1d(batch[user].items[:50], targets).tolist()}
    for path, found in hits.items():
        assert found - set().union(*(hits[other] for other in hits if other != path)), path
