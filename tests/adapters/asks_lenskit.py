"""Runs in an environment of LensKit: trains scorers, exports them, and writes what they recommend.

python asks_lenskit.py LOG.parquet FOLDER EXPORTERS
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

log, folder, exporters = pd.read_parquet(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
sys.path.insert(0, exporters)

from lenskit.als import BiasedMFScorer, ImplicitMFScorer  # noqa: E402
from lenskit.data import ItemList, RecQuery, from_interactions_df  # noqa: E402
from lenskit.knn import EASEScorer, ItemKNNScorer, SLIMScorer  # noqa: E402
from lenskit.training import TrainingOptions  # noqa: E402
from lenskit_arrays import export  # noqa: E402

dataset: Any = from_interactions_df(log)
scorers = {
    "implicit_mf": ImplicitMFScorer(features=6, epochs=3),
    "prefer_mf": ImplicitMFScorer(features=6, epochs=3, user_embeddings="prefer"),
    "biased_mf": BiasedMFScorer(features=6, epochs=3),
    "knn": ItemKNNScorer(max_nbrs=1_000, feedback="implicit"),
    "ease": EASEScorer(regularization=50.0),
    "slim": SLIMScorer(),
}
for name, scorer in scorers.items():
    scorer.train(dataset, TrainingOptions(rng=3))
    toml = export(scorer, dataset, folder / name)
    (folder / name / "path.toml").write_text(toml)
    parts = []
    for user in dataset.users.ids().tolist():
        history = dataset.user_row(user)
        left = np.setdiff1d(dataset.items.ids(), history.ids())
        scores = scorer(RecQuery(user_id=user, user_items=history), ItemList(item_ids=left)).to_df()
        best = scores.dropna(subset="score").nlargest(30, "score")
        parts.append(pd.DataFrame({"user_id": user, "item_id": best["item_id"], "score": best["score"]}))
    pd.concat(parts).to_parquet(folder / name / "asked.parquet")
