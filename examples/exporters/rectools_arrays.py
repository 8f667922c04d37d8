"""Writes the arrays of a fitted RecTools model into parquet; to be called in the environment of RecTools.

```python
from rectools_arrays import export

print(export(model, dataset, "exported"))  # the path, for a configuration file of multirecall
```

Classes whose state is arrays, in RecTools 0.19:

- vectors of users and items: `ImplicitALSWrapperModel`, `ImplicitBPRWrapperModel`, `PureSVDModel`,
  `LightFMWrapperModel` with its biases, and `SASRecModel` and `BERT4RecModel` with the vectors that all users of the
  data set have after their last event;
- an item × item matrix: `EASEModel`, `ImplicitItemKNNWrapperModel`.

It needs RecTools, numpy and pyarrow. Nothing is pickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from arrays_to_parquet import write_lists, write_vectors


def export(model: Any, dataset: Any, folder: str | Path) -> str:
    """Write the model into `folder`, and return the table of its path for a configuration file.

    Args:
        model: fitted.
        dataset: the `rectools.dataset.Dataset` that it was fitted on.
        folder: is made if it is missing.

    Raises:
        TypeError: the state of such a model is not arrays, or this script does not know where they are.
    """
    name = type(model).__name__
    items, users = dataset.item_id_map.external_ids, dataset.user_id_map.external_ids
    if name == "EASEModel":
        return write_lists(folder, items, model.weight.T)  # the model multiplies histories by its rows
    if name == "ImplicitItemKNNWrapperModel":
        return write_lists(folder, items, model.model.similarity)
    if name in ("SASRecModel", "BERT4RecModel"):
        return _export_transformer(model, dataset, folder)
    if name == "LightFMWrapperModel":
        user_vectors, item_vectors = model.get_vectors(dataset)
    elif name in ("ImplicitALSWrapperModel", "ImplicitBPRWrapperModel", "PureSVDModel"):
        user_vectors, item_vectors = model.get_vectors()
    else:
        raise TypeError(f"{name}: this script knows no arrays of such a model; see its first lines for those it knows")
    return write_vectors(folder, items, item_vectors, users, user_vectors)


def _export_transformer(model: Any, dataset: Any, folder: str | Path) -> str:
    """The vectors by which a transformer ranks all known items for each user, from what it computes for a request."""
    preparator, lightning = model.data_preparator, model.lightning_model
    asked = preparator.transform_dataset_u2i(dataset, dataset.user_id_map.external_ids)
    batches = preparator.get_dataloader_recommend(asked, model.recommend_batch_size)
    users, items = lightning._get_user_item_embeddings(batches, None)
    known = preparator.get_known_items_sorted_internal_ids()
    space = "cosine" if lightning.torch_model.similarity_module.distance.value == "cosine" else "inner_product"
    return write_vectors(
        folder,
        preparator.get_known_item_ids(),
        items.detach().cpu().numpy()[known],
        asked.user_id_map.external_ids,
        np.asarray(users.detach().cpu()),
        space,
    )
