"""A table of the items or of the users of a dataset: ids and features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.data.features import Feature, feature_of
from multirecall.storage import read_component, write_component
from multirecall.vocabulary import Id, Vocabulary


@dataclass(frozen=True)
class Table:
    """Ids with their rows, and feature columns over those rows.

    Attributes:
        ids: the vocabulary.
        stored: feature columns by name. They may be shorter than `ids`; later rows are null.
        stored_listed: whether a row was in the caller's feature table, and not only in the log, bool; it may be
            shorter than `ids` too.
    """

    ids: Vocabulary
    stored: Mapping[str, Feature]
    stored_listed: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def features(self) -> Mapping[str, Feature]:
        """Feature columns by name, each over all rows."""
        return {
            field: feature if len(feature) == len(self) else feature.pad(len(self))
            for field, feature in self.stored.items()
        }

    @cached_property
    def bitmaps(self) -> dict[Any, NDArray[np.bool_]]:
        """What the engine keeps of predicates over these rows, bool (n,) each; it goes when the table changes."""
        return {}

    @cached_property
    def listed(self) -> NDArray[np.bool_]:
        """Whether a row was in the caller's feature table, and not only in the log, bool (n,)."""
        missing = len(self) - self.stored_listed.size
        return np.append(self.stored_listed, np.zeros(missing, np.bool_)) if missing else self.stored_listed

    def values(self, row: int) -> dict[str, Any]:
        """The features of a row by name, without nulls; empty for row -1."""
        if not 0 <= row < self.stored_listed.size:
            return {}
        return {field: value for field, one in self.stored.items() if (value := one.value(row)) is not None}

    def column(self, field: str, rows: NDArray[np.integer]) -> Feature:
        """The feature `field` of `rows`, integers (n,); null for row -1."""
        feature = self.stored[field]
        return feature.take(np.where(rows < len(feature), rows, -1))

    def label(self, row: int) -> str:
        """What a person recognises a row by: its first text feature, else its first category, else ""."""
        values = self.values(row)
        for kind in ("text", "categorical"):
            named = [values[field] for field, one in self.stored.items() if one.kind == kind and field in values]
            if named:
                return str(named[0])
        return ""

    def take(self, rows: NDArray[np.integer]) -> Table:
        """The table of `rows`, integers (n,), in this order, renumbered from 0."""
        return Table(
            Vocabulary(self.ids.ids(rows), self.ids.what),
            {field: feature.take(rows) for field, feature in self.features.items()},
            self.listed[rows],
        )

    def with_ids(self, ids: NDArray[Any] | list[Id]) -> Table:
        """A copy with the unknown ones of `ids`, (n,), appended, with null features; the feature arrays are shared."""
        longer = self.ids.with_ids(ids)
        return self if longer is self.ids else replace(self, ids=longer)

    def with_features(self, rows: NDArray[np.integer], values: Mapping[str, Feature]) -> Table:
        """A copy in which `rows`, integers (n,), are `listed` and have the features `values`; other columns stay."""
        listed = self.listed.copy()
        listed[rows] = True
        changed: dict[str, Feature] = {
            field: self.features[field].with_values(rows, feature)  # type: ignore[arg-type]
            for field, feature in values.items()
        }
        return Table(self.ids, {**self.features, **changed}, listed)

    def without(self, rows: NDArray[np.integer]) -> Table:
        """A copy in which `rows`, integers (n,), have neither ids nor features; no row is renumbered."""
        left = np.arange(len(self))
        left[rows] = -1
        listed = self.listed.copy()
        listed[rows] = False
        features = {field: feature.take(left) for field, feature in self.features.items()}
        return Table(self.ids.without(rows), features, listed)

    def compact(self, order: NDArray[np.integer]) -> Table:
        """The table of the rows in `order`, integers (n,), which must be sorted by id, without unused categories."""
        taken = self.take(order)
        ids = taken.ids.ids()
        if taken.ids.holds_text:
            ids = ids.astype(f"<U{np.char.str_len(ids).max(initial=1)}")
        return replace(
            taken,
            ids=Vocabulary(ids, taken.ids.what),
            stored={field: feature.compact() for field, feature in taken.stored.items()},
        )

    def save(self, folder: Path) -> None:
        """Write the table into `folder`."""
        arrays = {"ids": self.ids.ids(), "gone": self.ids.gone, "listed": self.listed}
        for number, feature in enumerate(self.features.values()):
            arrays |= {f"feature{number}-{name}": array for name, array in feature.arrays().items()}
        fields = [[field, feature.kind] for field, feature in self.features.items()]
        write_component(folder, arrays, {"what": self.ids.what, "fields": fields})

    @classmethod
    def load(cls, folder: Path) -> Table:
        """Read what `save` wrote."""
        arrays, meta = read_component(folder)
        features = {}
        for number, (field, kind) in enumerate(meta["fields"]):
            prefix = f"feature{number}-"
            own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
            features[field] = feature_of(kind, field, own)
        return cls(Vocabulary(arrays["ids"], meta["what"], arrays["gone"]), features, arrays["listed"])
