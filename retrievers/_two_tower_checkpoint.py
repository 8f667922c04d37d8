"""Checkpoints of a two-tower training on disk."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from multirecall.errors import BundleError, ConfigError
from multirecall.storage import read_component, verified_manifest, write_component, write_manifest

from ._two_tower_config import TwoTowerConfig
from ._two_tower_data import TrainingData

SPEED_ONLY = {"checkpoint", "threads", "device", "precision", "index"}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder that holds the state of a training after an epoch.

    Attributes:
        folder: where; `folder.new` beside it is being written.
        fingerprint: of the data and the settings that the state belongs to.
    """

    folder: Path
    fingerprint: str

    @classmethod
    def of(cls, folder: str, data: TrainingData, config: TwoTowerConfig) -> Self:
        """The checkpoint of a training on `data` with `config`."""
        digest = hashlib.sha256(config.model_dump_json(exclude=SPEED_ONLY).encode())
        log = data.log
        for array in (log.users, log.items, log.weights, data.users.tokens, data.items.tokens, data.held_out):
            digest.update(np.ascontiguousarray(array).data)
        return cls(Path(folder), digest.hexdigest())

    def write(self, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> None:
        """Replace what the folder holds; a crash leaves the old or the new state.

        Raises:
            BundleError: the folder cannot be written.
        """
        fresh = self.folder.with_name(f"{self.folder.name}.new")
        try:
            shutil.rmtree(fresh, ignore_errors=True)
            write_component(fresh, arrays, {**meta, "fingerprint": self.fingerprint})
            write_manifest(fresh, {})
            shutil.rmtree(self.folder, ignore_errors=True)
            fresh.rename(self.folder)
        except OSError as fault:
            raise BundleError(f"checkpoint {self.folder}: cannot be written ({fault}); check the disk") from None

    def read(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None:
        """The state in the folder, or None where there is none.

        Raises:
            BundleError: a file is damaged.
            ConfigError: it belongs to other data or settings.
        """
        found = next(
            (one for one in (self.folder, self.folder.with_name(f"{self.folder.name}.new")) if _whole(one)), None
        )
        if found is None:
            return None
        verified_manifest(found)
        arrays, meta = read_component(found)
        if meta.get("fingerprint") != self.fingerprint:
            raise ConfigError(
                f"two_tower: checkpoint {str(self.folder)!r} belongs to other data or settings; name another folder"
            )
        return {name: np.array(array) for name, array in arrays.items()}, meta


def _whole(folder: Path) -> bool:
    return (folder / "manifest.json").exists()
