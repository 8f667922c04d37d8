"""The items, or the users, of a dataset: their ids and their features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multirecall.data.features import Feature, feature_of
from multirecall.storage import read_component, write_component
from multirecall.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Table:
    """Ids with their rows, and feature columns over those rows.

    Attributes:
        ids: the vocabulary.
        features: columns by field name, each over all rows.
        listed: bool (n,), whether the row stood in the caller's feature table (and not only in the log).
    """

    ids: Vocabulary
    features: Mapping[str, Feature]
    listed: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)

    def values(self, row: int) -> dict[str, Any]:
        """The features of a row by field name, without those that are null; of no row (-1): none."""
        if row < 0:
            return {}
        values = {field: feature.value(row) for field, feature in self.features.items()}
        return {field: value for field, value in values.items() if value is not None}

    def take(self, rows: NDArray[np.integer]) -> Table:
        """The table of some rows, in ascending order."""
        return Table(
            Vocabulary(self.ids.ids(rows), self.ids.what),
            {field: feature.take(rows) for field, feature in self.features.items()},
            self.listed[rows],
        )

    def save(self, folder: Path) -> None:
        """Write the table into `folder`."""
        arrays = {"ids": self.ids.ids(), "listed": self.listed}
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
        return cls(Vocabulary(arrays["ids"], meta["what"]), features, arrays["listed"])
