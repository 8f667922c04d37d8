"""What the page offers to choose from: items by words, features to filter by, a few users, and fusions."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from time import monotonic
from typing import Any
from weakref import ReferenceType, ref

import numpy as np
import polars as pl

from multirecall.data import Categorical, Dataset, Feature, Numeric, Tags
from multirecall.engine import Engine
from multirecall.errors import PluginError
from multirecall.registry import FUSIONS, fusion_class
from multirecall.serving.explorer.labels import Labels

FOUND = 20
"""Items that a search returns."""

WORDS = 6
"""Words of a search that count."""

CHOICES = 60
"""Values of a feature that are offered, the most frequent ones."""

LOOKED_AT = 1_000
"""Users whose histories are looked at for the few that are offered."""

OFFERED = 8
"""Users that are offered."""

RENEWED_S = 60.0
"""Seconds for which a list of items is used although the data has changed."""


@dataclass(frozen=True, slots=True)
class _Index:
    """The items of one version of the data: their ids and lower-case titles as text, one row each."""

    data: ReferenceType[Dataset]
    made: float
    ids: pl.Series
    titles: pl.Series
    live: pl.Series


class Catalogue:
    """Offers items, features and users of an engine's data."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._lock = threading.Lock()
        self._index: _Index | None = None

    def search(self, data: Dataset, text: str) -> list[str]:
        """The ids of at most `FOUND` items: those whose id begins with the text, then those whose title has its words.

        An item that joined within the last `RENEWED_S` may be missing. Removed items are left out.
        """
        wanted = text.strip().lower()
        if not wanted:
            return []
        index = self._current(data)
        begins = index.ids.str.to_lowercase().str.starts_with(wanted)
        titled = index.live
        for word in wanted.split()[:WORDS]:
            titled = titled & index.titles.str.contains(word, literal=True)
        first = (begins & index.live).arg_true().head(FOUND).to_list()
        more = (titled & ~begins).arg_true().head(FOUND - len(first)).to_list()
        found: list[str] = index.ids.gather([*first, *more]).to_list()
        return found

    def fields(self, data: Dataset) -> list[dict[str, Any]]:
        """The item features that a filter may name: values with their counts, or the range of numbers and times."""
        described = (_describe(name, feature) for name, feature in data.items.stored.items())
        return [one for one in described if one is not None]

    def users(self, data: Dataset) -> list[dict[str, Any]]:
        """A few users with the number of their events: long, middling and short histories, in this order."""
        n = data.n_users
        rows = np.unique(np.linspace(0, n - 1, min(n, LOOKED_AT)).astype(np.int64)) if n else np.zeros(0, np.int64)
        rows = rows[~np.isin(rows, data.users.ids.gone)]
        lengths = np.array([data.history(row).items.size for row in rows.tolist()], np.int64)
        order = np.argsort(-lengths, kind="stable")
        order = order[lengths[order] > 0] if (lengths > 0).any() else order
        places = np.unique(np.linspace(0, order.size - 1, min(OFFERED, order.size)).astype(np.int64))
        return [
            {"id": str(data.users.ids.id(int(rows[one]))), "events": int(lengths[one])}
            for one in order[places].tolist()
        ]

    def _current(self, data: Dataset) -> _Index:
        with self._lock:
            index = self._index
            if index is None or (index.data() is not data and monotonic() - index.made > RENEWED_S):
                self._index = index = self._make(data)
            return index

    def _make(self, data: Dataset) -> _Index:
        rows = np.arange(data.n_items)
        live = np.ones(data.n_items, np.bool_) if data.removed is None else ~data.removed
        live[data.items.ids.gone] = False
        titles = pl.Series(self._labels.titles(data, rows), dtype=pl.String).fill_null("").str.to_lowercase()
        return _Index(ref(data), monotonic(), pl.Series(data.items.ids.ids()).cast(pl.String), titles, pl.Series(live))


def _describe(name: str, feature: Feature) -> dict[str, Any] | None:
    if isinstance(feature, Categorical | Tags):
        counts = np.bincount(feature.codes[feature.codes >= 0], minlength=len(feature.categories))
        order = np.argsort(-counts, kind="stable")[:CHOICES]
        values = [[str(feature.categories.id(code)), int(counts[code])] for code in order.tolist()]
        return {"name": name, "kind": feature.kind, "n": len(feature.categories), "values": values}
    if isinstance(feature, Numeric):
        known = feature.values[np.isfinite(feature.values)]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
        return {"name": name, "kind": feature.kind, "min": low, "max": high}
    return None


def fusions(engine: Engine) -> Iterable[dict[str, Any]]:
    """The installed fusions with the settings that a page can show: choices and numbers."""
    own = [engine.config.fusion, *(one.fusion for one in engine.config.segments if one.fusion is not None)]
    given = [one.strategy for one in own if ":" in one.strategy]
    for name in [*FUSIONS.names(), *dict.fromkeys(given)]:
        try:
            schema = fusion_class(name).Config.model_json_schema()
        except PluginError:
            continue
        fields = {}
        for field, says in schema.get("properties", {}).items():
            if "enum" in says:
                fields[field] = {"choices": says["enum"], "default": says.get("default")}
            elif says.get("type") in ("number", "integer"):
                fields[field] = {"least": says.get("minimum"), "default": says.get("default")}
        yield {"name": str(name), "fields": fields, "weighted": bool(fusion_class(name).terms)}
