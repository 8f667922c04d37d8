"""The item vectors of each path in an evaluation: their health, and a map of the items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.data import Categorical, Table
from multirecall.engine import Engine
from multirecall.errors import RequestError
from multirecall.evaluation.embeddings import EmbeddingHealth, Method, embedding_health, layout
from multirecall.evaluation.figures import COLOURS

OTHERS = "others"
GREY = "#CCCCCC"


@dataclass(frozen=True, slots=True)
class ItemMap:
    """A map of items on a plane: items with similar vectors are near each other.

    Attributes:
        points: for each item, x and y from 0 to 1 and the position of its group in `groups`.
        labels: for each item, its id and its title.
        field: the categorical feature that gives the colours; "" where the items have none.
        groups: name and colour of the most frequent categories; the last group, in grey, is the rest.
    """

    points: list[tuple[float, float, int]]
    labels: list[str]
    field: str
    groups: list[tuple[str, str]]

    def to_dict(self) -> dict[str, Any]:
        """The map as JSON values, for the script of the page."""
        return {"points": self.points, "labels": self.labels, "colours": [colour for _, colour in self.groups]}


@dataclass(frozen=True, slots=True)
class PathEmbeddings:
    """The item vectors of one path.

    Attributes:
        path: the name of the path.
        health: the health of the vectors; None where it cannot be computed.
        map: a map of the items; None where it was not asked for or cannot be drawn.
        fault: the reason why health or map is missing; None where there is none.
    """

    path: str
    health: EmbeddingHealth | None
    map: ItemMap | None
    fault: str | None

    @property
    def remarks(self) -> list[str]:
        """The warnings about the vectors, and the fault, in words."""
        return [*(self.health.warnings if self.health else ()), *([self.fault] if self.fault else [])]

    def to_dict(self) -> dict[str, Any]:
        """The health as JSON values, and the fault."""
        return {"health": None if self.health is None else self.health.to_dict(), "fault": self.fault}


def path_embeddings(engine: Engine, method: Method | None = None, *, seed: int = 0) -> list[PathEmbeddings]:
    """Examine the item vectors of each path that has any, in the order of the paths.

    Args:
        engine: a fitted engine.
        method: the layout of the map of items, see `layout`; None: no map is made.
        seed: the seed of random pairs and samples.

    Raises:
        NotFitted: the engine serves nothing.
        MissingExtra: t-SNE needs scikit-learn.
    """
    found = []
    for path in engine.vector_paths:
        ids, vectors = engine.vectors(path)
        health, drawn, fault = None, None, None
        try:
            health = embedding_health(vectors, seed=seed)
            drawn = None if method is None else item_map(engine.data.items, ids, vectors, method, seed)
        except RequestError as refusal:
            fault = str(refusal)
        found.append(PathEmbeddings(path, health, drawn, fault))
    return found


def item_map(
    items: Table, ids: NDArray[Any], vectors: NDArray[np.floating], method: Method = "pca", seed: int = 0
) -> ItemMap:
    """Map up to 5,000 of the items `ids` (n,) by their `vectors` (n, dim); the rest is as in `layout`."""
    places, points = layout(vectors, method, seed)
    low, high = points.min(axis=0), points.max(axis=0)
    points = (points - low) / np.where(high > low, high - low, 1.0)
    shown = ids[places].tolist()
    rows = items.ids.rows(shown)
    field, codes, groups = _groups(items, rows)
    placed = [(round(x, 4), round(y, 4), code) for (x, y), code in zip(points.tolist(), codes.tolist(), strict=True)]
    labels = [f"{item} {items.label(row)}".rstrip() for item, row in zip(shown, rows.tolist(), strict=True)]
    return ItemMap(placed, labels, field, groups)


def _groups(items: Table, rows: NDArray[np.int32]) -> tuple[str, NDArray[np.intp], list[tuple[str, str]]]:
    """The first categorical feature, the position of each row's group, and the name and colour of the groups."""
    fields = [(field, one) for field, one in items.features.items() if isinstance(one, Categorical)]
    if not fields:
        return "", np.zeros(rows.size, np.intp), [("items", COLOURS[0])]
    field, feature = fields[0]
    codes = feature.codes[rows]
    present, counts = np.unique(codes[codes >= 0], return_counts=True)
    shown = present[np.argsort(-counts, kind="stable")][: len(COLOURS) - 1]
    groups = [(str(feature.categories.id(code)), colour) for code, colour in zip(shown.tolist(), COLOURS, strict=False)]
    places = np.full(len(feature.categories) + 1, shown.size)  # the last one stands for null
    places[shown] = np.arange(shown.size)
    return field, places[codes], [*groups, (OTHERS, GREY)]
