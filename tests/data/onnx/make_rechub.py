"""Write a tiny model of torch-rechub, as its own exporter writes it, and what the library itself scores.

    python make_rechub.py FOLDER          with torch-rechub 0.9, onnx and torch

The weights are drawn, not learned. Items have the numbers 1 … 30, 0 pads; users 1 … 12, 0 is anybody else.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from asked import N_USERS as N_ASKED
from asked import draw_histories, pad_left, write_answers
from torch_rechub.basic.features import DenseFeature, SequenceFeature, SparseFeature
from torch_rechub.models.matching import DSSM
from torch_rechub.trainers import MatchTrainer

N_ITEMS, N_USERS, LENGTH, DIM = 30, 12, 6, 6


def main(folder: Path) -> None:
    """Write `rechub.onnx` and `rechub.npz`."""
    torch.manual_seed(1)
    history = SequenceFeature("hist", N_ITEMS + 1, 4, pooling="mean", shared_with="item", padding_idx=0)
    user = [SparseFeature("user", N_USERS + 1, 4), DenseFeature("age"), history]
    item = [SparseFeature("item", N_ITEMS + 1, 4, padding_idx=0)]
    tower = {"dims": [8, DIM], "activation": "prelu"}
    model = DSSM(user, item, user_params=tower, item_params=tower).eval()
    for table in model.embedding.embed_dict.values():
        torch.nn.init.normal_(table.weight)
    MatchTrainer(model, mode=0, device="cpu", model_path=str(folder)).export_onnx(
        str(folder / "rechub.onnx"), mode="user", seq_length=LENGTH, onnx_export_kwargs={"dynamo": False}
    )
    rng = np.random.default_rng(11)
    users = rng.integers(0, N_USERS + 1, N_ASKED)
    ages = rng.random(N_ASKED, np.float32)
    histories = draw_histories(range(1, N_ITEMS + 1), LENGTH + 3, seed=12)
    asked = {
        "user": torch.from_numpy(users),
        "age": torch.from_numpy(ages),
        "hist": torch.from_numpy(pad_left(histories, LENGTH, padding=0)),
    }
    with torch.no_grad():
        model.mode = "item"
        item_vectors = model({"item": torch.arange(1, N_ITEMS + 1)}).reshape(N_ITEMS, DIM)
        model.mode = "user"
        scores = model(asked).reshape(-1, DIM) @ item_vectors.T
    write_answers(
        folder / "rechub.npz",
        1,
        item_vectors.numpy(),
        histories,
        scores.numpy(),
        users=users.astype(np.uint8),
        ages=ages,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
