"""What an evaluation says of the item vectors of each path: their health, and a map of the items."""

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
    """Items on a plane, near each other where their vectors are.

    Attributes:
        points: for each item x and y from 0 to 1, and the place of its group in `groups`.
        labels: for each item what it is recognised by.
        field: the categorical feature that the items are coloured by; "" where they have none.
        groups: its most frequent categories with a colour each, and last the rest, in grey.
    """

    points: list[tuple[float, float, int]]
    labels: list[str]
    field: str
    groups: list[tuple[str, str]]

    def to_dict(self) -> dict[str, Any]:
        """What the page's script draws, as JSON values."""
        return {"points": self.points, "labels": self.labels, "colours": [colour for _, colour in self.groups]}


@dataclass(frozen=True, slots=True)
class PathEmbeddings:
    """The item vectors of one path.

    Attributes:
        path: its name.
        health: their health, or None where it cannot be told.
        map: a map of the items, where it was asked for and can be drawn.
        fault: why there is no health or no map, or None.
    """

    path: str
    health: EmbeddingHealth | None
    map: ItemMap | None
    fault: str | None

    @property
    def remarks(self) -> list[str]:
        """What is likely wrong, in words."""
        return [*(self.health.warnings if self.health else ()), *([self.fault] if self.fault else [])]

    def to_dict(self) -> dict[str, Any]:
        """The health as JSON values, and the fault."""
        return {"health": None if self.health is None else self.health.to_dict(), "fault": self.fault}


def path_embeddings(engine: Engine, method: Method | None = None, *, seed: int = 0) -> list[PathEmbeddings]:
    """Look at the item vectors of each path of a fitted engine that has any, in the order of the paths.

    Args:
        engine: the engine.
        method: how a map of the items is laid out, see `layout`; None: no map is made.
        seed: of what is drawn at random.

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
    """A map of up to 5,000 of the items `ids` (n,), by their `vectors` (n, dim); the rest is as in `layout`."""
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
    """The first categorical feature, and for each of the rows the place of its category among those with a colour."""
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
