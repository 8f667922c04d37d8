"""Write a tiny model of torch-rechub, as its own exporter writes it, and what the library itself scores.

    python make_rechub.py FOLDER          with torch-rechub 0.9, onnx and torch

The weights are drawn, not learned. Items have the numbers 1 … 30, 0 pads; users 1 … 12, 0 is anybody else.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch_rechub.basic.features import DenseFeature, SequenceFeature, SparseFeature
from torch_rechub.models.matching import DSSM
from torch_rechub.trainers import MatchTrainer

N_ITEMS, N_USERS, LENGTH, DIM = 30, 12, 6, 6


def main(folder: Path) -> None:
    """Write `rechub.onnx` and `rechub.json`."""
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
    histories = [[1, 2, 3], [30, 7, 7, 12, 1, 9], [5], [11, 29, 4, 8, 2, 3]]
    users, ages = [1, 5, 12, 0], [0.1, 0.5, 0.0, 0.9]
    padded = torch.tensor([[0] * (LENGTH - len(one)) + one for one in histories])
    with torch.no_grad():
        model.mode = "item"
        items = model({"item": torch.arange(1, N_ITEMS + 1)})
        model.mode = "user"
        asked = model({"user": torch.tensor(users), "age": torch.tensor(ages), "hist": padded})
    figures = {
        "items": items.reshape(N_ITEMS, DIM).tolist(),
        "first_item": 1,
        "users": users,
        "ages": ages,
        "histories": histories,
        "scores": (asked.reshape(-1, DIM) @ items.reshape(N_ITEMS, DIM).T).tolist(),
    }
    (folder / "rechub.json").write_text(json.dumps(figures) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
