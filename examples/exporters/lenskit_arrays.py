"""Writes the arrays of a trained LensKit scorer into parquet; to be called in the environment of LensKit.

```python
from lenskit_arrays import export

print(export(scorer, dataset, "exported"))  # the path, for a configuration file of multirecall
```

Classes whose state is arrays, in LensKit 2025.8:

- vectors of users and items: `ImplicitMFScorer`, and `BiasedMFScorer` with its biases, as they score a user by the
  history in the data set or, with `user_embeddings = "prefer"`, by what was trained;
- an item × item matrix: `EASEScorer`, `SLIMScorer`, and `ItemKNNScorer` with implicit feedback. `ItemKNNScorer` adds up
  only the `max_nbrs` largest similarities of a history to an item, and its `min_nbrs` may leave items out; the path
  adds up all, so that scores are equal where a history has no more such items.

It needs LensKit, numpy, scipy and pyarrow. Nothing is pickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from arrays_to_parquet import write_lists, write_vectors


def export(scorer: Any, dataset: Any, folder: str | Path) -> str:
    """Write the scorer into `folder`, and return the table of its path for a configuration file.

    Args:
        scorer: trained, such as `pipeline.node("scorer").component`.
        dataset: the `lenskit.data.Dataset` that it was trained on.
        folder: is made if it is missing.

    Raises:
        TypeError: the state of such a scorer is not arrays, or this script does not know where they are.
        ValueError: the scorer is no sum that vectors or lists can hold.
    """
    name, items = type(scorer).__name__, scorer.items.ids()
    if name in ("EASEScorer", "SLIMScorer"):
        return write_lists(folder, items, scorer.weights)
    if name == "ItemKNNScorer":
        if scorer.config.explicit:
            raise ValueError("ItemKNNScorer with explicit feedback averages ratings, which no sum over a history does")
        return write_lists(folder, items, scorer.sim_matrix.to_scipy())
    if name not in ("ImplicitMFScorer", "BiasedMFScorer"):
        raise TypeError(f"{name}: this script knows no arrays of such a scorer; see its first lines for those it knows")
    vectors, biases = _user_vectors(scorer, dataset)
    if name == "ImplicitMFScorer":
        return write_vectors(folder, items, scorer.item_embeddings, dataset.users.ids(), vectors)
    bias = scorer.bias
    own = np.zeros(len(items)) if bias.item_biases is None else bias.item_biases
    ones = np.ones((len(items), 1))
    return write_vectors(
        folder,
        items,
        np.hstack([scorer.item_embeddings, bias.global_bias + own[:, None], ones]),
        dataset.users.ids(),
        np.hstack([vectors, np.ones((len(vectors), 1)), biases[:, None]]),
    )


def _user_vectors(scorer: Any, dataset: Any) -> tuple[Any, Any]:
    """The vector and the bias of each user with which the scorer answers a query that has the user's history."""
    vectors, biases = [], []
    for number, user in enumerate(dataset.users.ids().tolist()):
        if scorer.config.user_embeddings == "prefer":
            vector, bias = scorer.user_embeddings[number], None
        else:
            vector, bias = scorer.new_user_embedding(number, dataset.user_row(user))
        if bias is None:
            known = getattr(getattr(scorer, "bias", None), "user_biases", None)
            bias = 0.0 if known is None else known[number]
        vectors.append(vector)
        biases.append(bias)
    return np.array(vectors), np.array(biases, np.float64)
