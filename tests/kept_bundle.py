"""The bundle that every later release must load and answer alike; run as a program, this writes it anew.

That is due once a release has another format of bundles, which needs a folder of its own: the older one is then there
to be refused by name.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from multirecall import Engine, EngineConfig, User
from multirecall.engine.bundle.lock import LOCK
from multirecall.testing import small_shop

FOLDER = Path(__file__).resolve().parent / "data" / "bundle-format-3"
ANSWERS = FOLDER.with_suffix(".json")
SMALL: dict[str, dict[str, Any]] = {
    "als": {"dim": 8},
    "content": {"jaccard": ["tags"]},
    "ease": {},
    "graph_filter": {"dim": 8},
    "item2vec": {"dim": 8},
    "item_cf": {},
    "next_item": {},
    "node2vec": {"dim": 8},
    "popularity": {"segment": "country"},
    "sequence": {},
    "two_tower": {"dim": 8, "epochs": 2, "text_buckets": 64, "precision": "float32"},
    "user_cf": {},
}
"""Every retriever, with settings that keep its files small."""

CONFIG = {
    "k": 15,
    "paths": [{"retriever": name, "quota": 20, "params": params} for name, params in SMALL.items()],
    "fusion": {"strategy": "weighted_sum", "params": {"normaliser": "min_max"}},
    "segments": [{"max_history": 2, "weights": {"popularity": 3.0}}],
}


def asked() -> dict[str, User]:
    """Who is asked for, by what they stand for."""
    return {
        "known": User("u7"),
        "changed since": User("u8"),
        "visitor": User(history=["i3", "i8"], features={"country": "FR"}),
        "searching": User(terms={"title": "green item", "tags": ["red"]}),
        "nobody": User(),
    }


def answers(engine: Engine) -> dict[str, Any]:
    """What each of `asked` gets: each path's list, and the fused one."""
    found: dict[str, Any] = {}
    for name, user in asked().items():
        lists = {path: one[0] for path, one in engine.path_lists([user]).items()}
        ids = engine.data.items.ids
        found[name] = {path: [ids.ids(one.items).tolist(), one.scores.tolist()] for path, one in lists.items()}
        fused = engine.retrieve(user, where={"price": {"max": 40}})
        found[name]["fused"] = [fused.ids.tolist(), fused.scores.tolist()]
    return found


def main() -> None:
    """Fit, save, journal some live changes, and note the answers."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    with Engine(EngineConfig.model_validate(CONFIG)).fit(small_shop("str")) as engine:
        engine.save(FOLDER)
        now = engine.data.now or 0
        engine.add_items([{"item_id": "new", "title": "green item of late", "tags": ["red"], "price": 3.5}])
        engine.add_interactions([{"user_id": "u8", "item_id": item, "timestamp": now} for item in ("new", "i5")])
        engine.remove_items(["i9"])
        found = answers(engine)
    (FOLDER / LOCK).unlink()  # which names a machine
    ANSWERS.write_text(json.dumps(found, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
