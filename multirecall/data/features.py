"""Feature columns of items or users as arrays: categories, lists of categories, numbers and texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from multirecall.csr import offsets_of, replace_runs, take_runs
from multirecall.vocabulary import Vocabulary

Arrays = dict[str, NDArray[Any]]
Precision = Literal["float16", "float32", "float64"]


@dataclass(frozen=True, slots=True)
class Categorical:
    """One category for each row: `codes` int32 (n,) into `categories`, -1 for null."""

    codes: NDArray[np.int32]
    categories: Vocabulary
    kind: Literal["categorical"] = "categorical"

    def value(self, row: int) -> Any:
        """The category of a row, or None."""
        code = self.codes[row]
        return None if code < 0 else self.categories.id(code)

    def __len__(self) -> int:
        return self.codes.size

    def take(self, rows: NDArray[np.integer]) -> Categorical:
        """The values of `rows`, integers (n,); row -1 gives null."""
        return Categorical(_take(self.codes, rows, -1), self.categories)

    def pad(self, n: int) -> Categorical:
        """A copy with nulls appended, `n` rows in all."""
        return Categorical(_pad(self.codes, n, -1), self.categories)

    def with_values(self, rows: NDArray[np.integer], values: Categorical) -> Categorical:
        """A copy in which `rows`, distinct integers (n,), hold the values of `values`; new categories are appended."""
        categories, theirs = _merge_categories(self.categories, values.categories)
        codes = self.codes.copy()
        codes[rows] = theirs[values.codes]
        return Categorical(codes, categories)

    def compact(self) -> Categorical:
        """A copy with sorted categories, without those that no row has."""
        categories, codes = _compact_categories(self.categories, self.codes)
        return Categorical(codes, categories)

    def arrays(self) -> Arrays:
        """The arrays from which `feature_of` rebuilds the column."""
        return {"codes": self.codes, "categories": self.categories.ids()}


@dataclass(frozen=True, slots=True)
class Tags:
    """A list of categories for each row, as CSR: int64 `offsets` (n + 1,) into int32 `codes`."""

    offsets: NDArray[np.int64]
    codes: NDArray[np.int32]
    categories: Vocabulary
    kind: Literal["list"] = "list"

    def value(self, row: int) -> Any:
        """The categories of a row as a list, or None where it has none."""
        codes = self.codes[self.offsets[row] : self.offsets[row + 1]]
        return self.categories.ids(codes).tolist() or None

    def __len__(self) -> int:
        return self.offsets.size - 1

    def take(self, rows: NDArray[np.integer]) -> Tags:
        """The values of `rows`, integers (n,); row -1 gives an empty list."""
        offsets, places = take_runs(self.offsets, rows)
        return Tags(offsets, self.codes[places], self.categories)

    def pad(self, n: int) -> Tags:
        """A copy with empty lists appended, `n` rows in all."""
        return Tags(_pad(self.offsets, n + 1, self.offsets[-1]), self.codes, self.categories)

    def with_values(self, rows: NDArray[np.integer], values: Tags) -> Tags:
        """A copy in which `rows`, distinct integers (n,), hold the values of `values`; new categories are appended."""
        categories, theirs = _merge_categories(self.categories, values.categories)
        offsets, codes = replace_runs(self.offsets, self.codes, rows, values.offsets, theirs[values.codes])
        return Tags(offsets, codes, categories)

    def compact(self) -> Tags:
        """A copy with sorted categories, without those that no row has."""
        categories, codes = _compact_categories(self.categories, self.codes)
        return Tags(self.offsets, codes, categories)

    def arrays(self) -> Arrays:
        """The arrays from which `feature_of` rebuilds the column."""
        return {"offsets": self.offsets, "codes": self.codes, "categories": self.categories.ids()}


@dataclass(frozen=True, slots=True)
class Numeric:
    """A number for each row, float64 (n,), NaN for null; datetimes are epoch seconds.

    `precision` is the type of the caller's column. Comparisons and `arrays` use that type.
    """

    values: NDArray[np.float64]
    kind: Literal["number", "datetime"] = "number"
    precision: Precision = "float64"

    def value(self, row: int) -> Any:
        """The number of a row, or None."""
        value = self.values[row].item()
        return value if value == value else None  # NaN alone differs from itself

    def __len__(self) -> int:
        return self.values.size

    def between(self, low: float, high: float) -> NDArray[np.bool_]:
        """Whether the number of each row is from `low` to `high`, both included, bool (n,).

        The bounds are rounded to `precision`, so that 9.99 of a Float32 column equals the bound 9.99.
        """
        with np.errstate(over="ignore"):
            values, (low, high) = self.values.astype(self.precision), np.array([low, high], self.precision)
        return (values >= low) & (values <= high)

    def any_of(self, numbers: Sequence[float]) -> NDArray[np.bool_]:
        """Whether the number of each row is one of `numbers`, bool (n,)."""
        with np.errstate(over="ignore"):
            return np.isin(self.values.astype(self.precision), np.array(numbers, self.precision))

    def take(self, rows: NDArray[np.integer]) -> Numeric:
        """The values of `rows`, integers (n,); row -1 gives null."""
        return replace(self, values=_take(self.values, rows, np.nan))

    def pad(self, n: int) -> Numeric:
        """A copy with nulls appended, `n` rows in all."""
        return replace(self, values=_pad(self.values, n, np.nan))

    def with_values(self, rows: NDArray[np.integer], values: Numeric) -> Numeric:
        """A copy in which `rows`, distinct integers (n,), hold the values of `values`, rounded to `precision`."""
        numbers = self.values.copy()
        numbers[rows] = values.values.astype(self.precision)
        return replace(self, values=numbers)

    def compact(self) -> Numeric:
        """The column itself: numbers have no categories."""
        return self

    def arrays(self) -> Arrays:
        """The array from which `feature_of` rebuilds the column, of type `precision`."""
        return {"values": self.values.astype(self.precision)}


@dataclass(frozen=True, slots=True)
class Text:
    """A text for each row, as UTF-8 bytes: int64 `offsets` (n + 1,) into uint8 `data`; empty for null."""

    offsets: NDArray[np.int64]
    data: NDArray[np.uint8]
    kind: Literal["text"] = "text"

    @classmethod
    def of(cls, texts: Iterable[str | None]) -> Text:
        """Encode texts in UTF-8; a lone surrogate, which UTF-8 cannot hold, becomes a question mark."""
        encoded = [(text or "").encode(errors="replace") for text in texts]
        offsets = offsets_of([len(part) for part in encoded])
        return cls(offsets, np.frombuffer(b"".join(encoded), np.uint8))

    def value(self, row: int) -> Any:
        """The text of a row, or None where it is empty."""
        return self.data[self.offsets[row] : self.offsets[row + 1]].tobytes().decode() or None

    def __len__(self) -> int:
        return self.offsets.size - 1

    def strings(self) -> list[str]:
        """All texts, n of them; an empty one for null."""
        data, bounds = self.data.tobytes(), self.offsets.tolist()
        return [data[start:stop].decode() for start, stop in pairwise(bounds)]

    def take(self, rows: NDArray[np.integer]) -> Text:
        """The values of `rows`, integers (n,); row -1 gives an empty text."""
        offsets, places = take_runs(self.offsets, rows)
        return Text(offsets, self.data[places])

    def pad(self, n: int) -> Text:
        """A copy with empty texts appended, `n` rows in all."""
        return Text(_pad(self.offsets, n + 1, self.offsets[-1]), self.data)

    def with_values(self, rows: NDArray[np.integer], values: Text) -> Text:
        """A copy in which `rows`, distinct integers (n,), hold the values of `values`."""
        return Text(*replace_runs(self.offsets, self.data, rows, values.offsets, values.data))

    def compact(self) -> Text:
        """The column itself: texts have no categories."""
        return self

    def arrays(self) -> Arrays:
        """The arrays from which `feature_of` rebuilds the column."""
        return {"offsets": self.offsets, "data": self.data}


Feature = Categorical | Tags | Numeric | Text
"""A feature column of any kind."""


def feature_of(kind: str, field: str, arrays: Mapping[str, NDArray[Any]]) -> Feature:
    """Rebuild a column of this kind from its `arrays()`; `field` names the categories in errors."""
    if kind == "text":
        return Text(arrays["offsets"], arrays["data"])
    if kind == "number" or kind == "datetime":
        values = arrays["values"]
        return Numeric(values.astype(np.float64, copy=False), kind, values.dtype.name)  # type: ignore[arg-type]
    categories = Vocabulary(arrays["categories"], field)
    if kind == "list":
        return Tags(arrays["offsets"], arrays["codes"], categories)
    return Categorical(arrays["codes"], categories)


def _merge_categories(own: Vocabulary, other: Vocabulary) -> tuple[Vocabulary, NDArray[np.int32]]:
    """Append the categories of `other` to `own`.

    Returns:
        The merged categories, and the merged code of each code of `other`, int32 (len(other) + 1,). The last entry is
        -1, so that code -1 (null) stays -1.
    """
    ids = other.ids()
    joined = own.with_ids(ids)
    return joined, np.append(joined.rows(ids), np.int32(-1))


def _compact_categories(categories: Vocabulary, codes: NDArray[np.int32]) -> tuple[Vocabulary, NDArray[np.int32]]:
    """The categories that occur in `codes`, sorted, and `codes` renumbered to them."""
    used = np.unique(codes[codes >= 0])
    ids = categories.ids(used)
    rebuilt = Vocabulary.of(ids, categories.what)
    lookup = np.full(len(categories) + 1, -1, np.int32)
    lookup[used] = rebuilt.rows(ids)
    return rebuilt, lookup[codes]


def _take(column: NDArray[Any], rows: NDArray[np.integer], null: Any) -> NDArray[Any]:
    """The values of `rows`; `null` for row -1."""
    if not column.size:
        return np.full(rows.size, null, column.dtype)
    taken: NDArray[Any] = np.where(rows < 0, column.dtype.type(null), column[rows])
    return taken


def _pad(column: NDArray[Any], n: int, value: Any) -> NDArray[Any]:
    return np.concatenate([column, np.full(n - column.size, value, column.dtype)])
