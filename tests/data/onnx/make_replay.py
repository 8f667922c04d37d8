"""Write a tiny SasRec of RePlay as ONNX, with the inputs of its own export, and what the library itself scores.

    python make_replay.py FOLDER          with replay-rec[torch] 0.22, onnx and torch

`SasRecCompiled` of RePlay exports the scores of all items. A vector index needs what stands before them, the query
embedding, so that is what this exports. The weights are drawn, not learned. Items have the numbers 0 … 29, 30 pads.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from asked import draw_histories, pad_left, write_answers
from replay.data import FeatureHint, FeatureType
from replay.data.nn import TensorFeatureInfo, TensorSchema
from replay.models.nn.sequential import SasRec

N_ITEMS, LENGTH, DIM = 30, 8, 8


class Query(torch.nn.Module):
    """The query embedding of a SasRec, by position of its arguments."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, item_id: torch.Tensor, padding_mask: torch.Tensor) -> Any:
        """The embedding, (users, DIM)."""
        return self.model.get_query_embeddings({"item_id": item_id}, padding_mask)


def main(folder: Path) -> None:
    """Write `replay.onnx` and `replay.npz`."""
    torch.manual_seed(2)
    feature = TensorFeatureInfo(
        "item_id",
        is_seq=True,
        cardinality=N_ITEMS,
        padding_value=N_ITEMS,
        embedding_dim=DIM,
        feature_type=FeatureType.CATEGORICAL,
        feature_hint=FeatureHint.ITEM_ID,
    )
    sasrec = SasRec(
        TensorSchema([feature]), block_count=1, head_count=2, hidden_size=DIM, max_seq_len=LENGTH, dropout_rate=0.0
    ).eval()
    axes = {0: "batch_size", 1: "max_len"}
    sample = torch.zeros((1, LENGTH)).long(), torch.zeros((1, LENGTH)).bool()
    torch.onnx.export(
        Query(sasrec._model),
        sample,
        str(folder / "replay.onnx"),
        input_names=["item_id", "padding_mask"],
        output_names=["query"],
        dynamic_axes={"item_id": axes, "padding_mask": axes},
        dynamo=False,
    )
    histories = draw_histories(range(N_ITEMS), LENGTH + 3, seed=13)
    padded = torch.from_numpy(pad_left(histories, LENGTH, padding=N_ITEMS))
    with torch.no_grad():
        scores = sasrec._model.predict({"item_id": padded}, padded != N_ITEMS)
        items = sasrec.get_all_embeddings()["item_embedding"][:N_ITEMS]
    write_answers(folder / "replay.npz", 0, items.numpy(), histories, scores.numpy())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
