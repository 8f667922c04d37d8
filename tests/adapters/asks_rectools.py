"""Runs in an environment of RecTools: fits models, exports them, and writes what they recommend.

python asks_rectools.py LOG.parquet FOLDER EXPORTERS
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd

log, folder, exporters = pd.read_parquet(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
sys.path.insert(0, exporters)

from implicit.cpu.als import AlternatingLeastSquares  # noqa: E402
from implicit.cpu.bpr import BayesianPersonalizedRanking  # noqa: E402
from implicit.nearest_neighbours import TFIDFRecommender  # noqa: E402
from lightfm import LightFM  # noqa: E402
from rectools.dataset import Dataset  # noqa: E402
from rectools.models import (  # noqa: E402
    BERT4RecModel,
    EASEModel,
    ImplicitALSWrapperModel,
    ImplicitBPRWrapperModel,
    ImplicitItemKNNWrapperModel,
    LightFMWrapperModel,
    PureSVDModel,
    SASRecModel,
)
from rectools_arrays import export  # noqa: E402

dataset = Dataset.construct(log)
small: dict[str, Any] = {"factors": 6, "num_threads": 1, "random_state": 3, "iterations": 3}
network: dict[str, Any] = {"n_factors": 8, "n_blocks": 1, "n_heads": 1, "epochs": 1, "session_max_len": 10}
models = {
    "als": ImplicitALSWrapperModel(AlternatingLeastSquares(**small)),
    "bpr": ImplicitBPRWrapperModel(BayesianPersonalizedRanking(**small)),
    "knn": ImplicitItemKNNWrapperModel(TFIDFRecommender(K=12, num_threads=1)),
    "ease": EASEModel(regularization=50.0),
    "svd": PureSVDModel(factors=6),
    "lightfm": LightFMWrapperModel(LightFM(no_components=6, random_state=3), epochs=2),
    "sasrec": SASRecModel(**network),
    "bert4rec": BERT4RecModel(**network),
}
for name, model in models.items():
    model.fit(dataset)
    toml = export(model, dataset, folder / name)
    (folder / name / "path.toml").write_text(toml)
    asked = dataset.user_id_map.external_ids
    model.recommend(users=asked, dataset=dataset, k=30, filter_viewed=True).to_parquet(folder / name / "asked.parquet")
