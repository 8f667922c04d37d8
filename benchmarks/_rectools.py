"""The peer of `sasrec`: SASRec of RecTools, whose training loop is timed inside pytorch-lightning."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any

from _stopwatch import Stopwatch

from multirecall import Dataset


def train_sasrec(data: Dataset, watch: Stopwatch, *, gated: bool, settings: Mapping[str, Any]) -> None:
    """Train until the stopwatch ends; a sample is a position of a sequence that has a target.

    Args:
        data: the log.
        watch: counts the steps.
        gated: whether the blocks are those of eSASRec, with gates and SwiGLU layers.
        settings: of `rectools.models.SASRecModel`.
    """
    import pandas as pd
    from pytorch_lightning import Callback, Trainer
    from rectools.dataset import Dataset as Log
    from rectools.models import SASRecModel
    from rectools.models.nn.transformers.ligr import LiGRLayers

    class Clock(Callback):  # type: ignore[misc]
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if not watch.goes_on(int((batch["y"] != 0).sum())):
                trainer.should_stop = True

    def trainer() -> Any:
        quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        return Trainer(max_epochs=1_000, accelerator="cpu", devices=1, callbacks=[Clock()], **quiet)

    log = data.interactions
    times = pd.to_datetime(range(len(log)), unit="s")
    table = pd.DataFrame({"user_id": log.users, "item_id": log.items, "weight": 1.0, "datetime": times})
    layers = {"transformer_layers_type": LiGRLayers} if gated else {}
    model = SASRecModel(get_trainer_func=trainer, dataloader_num_workers=0, **layers, **settings)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(Log.construct(table))
