"""Checkpoints of a training on disk."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.errors import BundleError, ConfigError
from multirecall.storage import MANIFEST, read_component, verify_manifest, write_component, write_manifest

from .config import TrainingConfig
from .data import TrainingData

SPEED_ONLY = {"checkpoint", "threads", "device", "precision", "index"}
"""Settings that may change between the parts of one training."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The folder that holds the state of one training after its last epoch.

    Attributes:
        folder: its path. A new state is written to a folder with the suffix `.new` beside it, which then replaces it.
    """

    folder: Path

    @classmethod
    def of(cls, parent: str, name: str, digest: str) -> Self:
        """The checkpoint of a training, in a folder below `parent` whose name begins with that of the retriever.

        Args:
            parent: the setting `checkpoint`.
            name: the name of the retriever.
            digest: see `training_digest`.

        Raises:
            ConfigError: `parent` is no folder, or cannot be created.
        """
        folder = Path(parent) / f"{name.replace('_', '-')}-{digest[:16]}"
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise ConfigError(f"{name}: checkpoint {parent!r} is no folder ({fault.strerror}); name one") from None
        return cls(folder)

    def write(self, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
        """Replace the state in the folder; after a crash, the folder holds either the old or the new state.

        Raises:
            BundleError: the folder cannot be written.
        """
        try:
            shutil.rmtree(self._fresh, ignore_errors=True)
            write_component(self._fresh, arrays, meta)
            write_manifest(self._fresh, {})
            shutil.rmtree(self.folder, ignore_errors=True)
            self._fresh.rename(self.folder)
        except OSError as fault:
            raise BundleError(f"checkpoint {self.folder}: cannot be written ({fault}); check the disk") from None

    def read(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None:
        """The state in the folder, or None if the folder has none.

        Raises:
            BundleError: a file is damaged.
        """
        for found in (self.folder, self._fresh):
            if (found / MANIFEST).exists():
                verify_manifest(found)
                arrays, meta = read_component(found)
                return {name: np.array(array) for name, array in arrays.items()}, meta
        return None

    @property
    def _fresh(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.new")


def training_digest(data: TrainingData, config: TrainingConfig, rng: np.random.Generator) -> str:
    """A SHA-256, in hexadecimal, of all that a training depends on.

    Args:
        data: what the training learns from.
        config: its settings; those in `SPEED_ONLY` do not enter the digest.
        rng: its generator, in the state at the start.
    """
    digest = hashlib.sha256(config.model_dump_json(exclude=SPEED_ONLY).encode())
    meta = data.user_profile.meta(), data.item_profile.meta(), data.log.ordered, rng.bit_generator.state
    digest.update(json.dumps(meta, sort_keys=True).encode())
    log = data.log
    times = np.empty(0, np.int64) if log.times is None else log.times
    for array in (log.users, log.items, log.weights, times, data.held_out, data.held_out_gaps):
        digest.update(np.ascontiguousarray(array).data)
    texts = () if data.searches is None else (data.searches.texts.words, data.searches.texts.sequences)
    for bags in (data.users, data.items, *texts):
        for array in (bags.offsets, bags.tokens, bags.weights):
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
