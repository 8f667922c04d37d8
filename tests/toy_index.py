"""An index as a third party writes one: numpy alone, every vector scored in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from multirecall.errors import BundleError, DataError, RequestError
from multirecall.lists import RankedList
from multirecall.storage import read_component, verify_manifest, write_component, write_manifest
from multirecall.topk import ALL_ALLOWED, NO_ROWS, top_eligible
from multirecall.vector_index import IndexConfig, Space, VectorIndex


class ToyConfig(IndexConfig):
    kind: Literal["toy"] = "toy"


class ToyIndex(VectorIndex):
    Config = ToyConfig

    def __init__(self, rows: Any, vectors: Any, space: Space) -> None:
        self.rows, self.vectors, self._space = rows, vectors, space

    @property
    def space(self) -> Space:
        return self._space

    @property
    def dim(self) -> int:
        return int(self.vectors.shape[1])

    def __len__(self) -> int:
        return int(self.rows.size)

    @classmethod
    def build(cls, rows: Any, vectors: Any, space: Space, settings: Any, **more: Any) -> ToyIndex:
        empty = cls(np.empty(0, np.int32), np.empty((0, np.asarray(vectors).shape[1]), np.float32), space)
        return empty.add(rows, vectors)

    def search(self, vector: Any, k: int, exclude: Any = NO_ROWS, allowed: Any = ALL_ALLOWED) -> RankedList:
        query = np.asarray(vector, np.float64)
        if query.shape != (self.dim,) or not (np.abs(query) < np.finfo(np.float32).max).all():
            raise RequestError(f"vector: has shape {query.shape} or is not finite; pass {self.dim} finite numbers")
        if allowed.size and self.rows.size and allowed.size <= self.rows[-1]:
            raise RequestError(f"allowed: has {allowed.size} entries; pass one for each item")
        stored = self.vectors.astype(np.float64)
        scores = -((stored - query) ** 2).sum(axis=1) if self.space == "l2" else stored @ query
        if self.space == "cosine":
            lengths = np.linalg.norm(stored, axis=1) * np.linalg.norm(query)
            scores = np.divide(scores, lengths, out=np.zeros_like(scores), where=lengths > 0)
        with np.errstate(over="ignore"):
            return RankedList(*top_eligible(self.rows, scores.astype(np.float32), max(k, 0), exclude, allowed))

    def add(self, rows: Any, vectors: Any) -> ToyIndex:
        given = np.array(vectors, np.float32)
        if given.shape != (len(rows), self.dim) or not np.isfinite(given).all():
            raise DataError(f"vectors: have shape {given.shape} or are not finite; pass one of {self.dim} for each row")
        if len(set(rows.tolist())) < len(rows) or min(rows.tolist(), default=0) < 0:
            raise DataError("rows: are negative or repeated; pass each once")
        rest = self.remove(rows)
        all_rows = np.concatenate([rest.rows, rows]).astype(np.int32)
        order = np.argsort(all_rows)
        return ToyIndex(all_rows[order], np.concatenate([rest.vectors, given])[order], self.space)

    def remove(self, rows: Any) -> ToyIndex:
        keep = ~np.isin(self.rows, rows)
        return ToyIndex(self.rows[keep], self.vectors[keep], self.space)

    def item_vectors(self) -> Any:
        return self.rows, self.vectors

    def save(self, folder: Path) -> None:
        if folder.exists() and any(folder.iterdir()):
            raise BundleError(f"{folder}: is not empty; save the index into a folder of its own")
        write_component(folder, {"rows": self.rows, "vectors": self.vectors}, {"space": self.space})
        write_manifest(folder, {})

    @classmethod
    def load(cls, folder: Path, settings: Any, *, threads: int, verify: bool) -> ToyIndex:
        if verify:
            verify_manifest(folder)
        arrays, meta = read_component(folder)
        return cls(arrays["rows"], arrays["vectors"], meta["space"])
