"""Reading the tables of a request log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import polars as pl
from numpy.typing import NDArray

from multirecall.errors import BundleError, DataError
from multirecall.monitoring.request_log.layout import CONFIGS, ITEMS
from multirecall.online import Exploration
from multirecall.storage import read_json
from multirecall.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class LoggedConfig:
    """What answered a request.

    Attributes:
        values: the config as JSON values, as in `Served`.
        teams: the values of the two configs whose fusions are interleaved, or None.
        exploration: which slots are drawn, or None.
        paths: the names of the paths.
    """

    values: Mapping[str, Any]
    teams: tuple[Mapping[str, Any], Mapping[str, Any]] | None
    exploration: Exploration | None
    paths: tuple[str, ...]


class TableReader:
    """The tables of a log; each is read once.

    Args:
        folder: of the log.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ids = cache(self._read_ids)
        """The item ids by row, (n,), of a catalogue and its late items; raises `DataError`."""
        self.vocabulary = cache(self._read_vocabulary)
        """The same as a vocabulary."""
        self.config = cache(self._read_config)
        """The config of a digest; raises `DataError`."""

    def _read_ids(self, catalogue: str, late: str | None) -> NDArray[Any]:
        home = self._folder / ITEMS / catalogue
        files = [home / "ids.parquet", *(sorted((home / late).glob("*.parquet")) if late else ())]
        try:
            return pl.concat([pl.read_parquet(file, glob=False) for file in files])["id"].to_numpy()
        except (OSError, pl.exceptions.PolarsError) as fault:
            raise DataError(f"{home}: the item ids of the log cannot be read ({fault}); restore the folder") from None

    def _read_vocabulary(self, catalogue: str, late: str | None) -> Vocabulary:
        ids = self.ids(catalogue, late)
        return Vocabulary(ids.astype(str) if ids.dtype.kind == "O" else ids, "item")

    def _read_config(self, digest: str) -> LoggedConfig:
        file = self._folder / CONFIGS / f"{digest}.json"
        try:
            values = read_json(file)
        except BundleError:
            raise DataError(f"{file}: a config of the log cannot be read; restore the file") from None
        teams, exploration = values["teams"], values["exploration"]
        return LoggedConfig(
            values["values"],
            None if teams is None else (teams[0], teams[1]),
            None if exploration is None else Exploration(**exploration),
            tuple(values["paths"]),
        )


def ids_of(folder: Path) -> Literal["text", "int"]:
    """Whether the item ids of a log are text; raises `DataError` where it has none."""
    for file in folder.glob(f"{ITEMS}/*/ids.parquet"):
        return "text" if pl.read_parquet_schema(file)["id"] == pl.String else "int"
    raise DataError(f"{folder}: holds no request log; name the folder that stands in [log] of the service")
