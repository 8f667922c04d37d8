"""How a bundle was sharded: the file that names the shards and says where each path stands."""

from __future__ import annotations

from pathlib import Path

from multirecall.engine.bundle.bundle import SHARDS
from multirecall.errors import BundleError
from multirecall.storage import read_json, write_json
from multirecall.validation import StrictModel, validate

FILE = "layout.json"
FORMAT = 1


class PlaceOfPath(StrictModel):
    """Where a path stands.

    Attributes:
        shard: the only shard that has the path, whole; None: every shard has a part of it.
        compares: whether the path compares items, see `Retriever.similar_items`.
    """

    shard: int | None
    compares: bool


class Layout(StrictModel):
    """How a bundle was sharded.

    Attributes:
        format: of this file.
        seed: of the hash that splits the items, see `owners_of`.
        n_items: the number of item rows at the split. Those that joined later belong to the shard of their id.
        client: the SHA-256 of the manifest of the version without paths, which the client loads.
        shards: that of the version of each shard.
        paths: where each path stands, by name.
    """

    format: int = FORMAT
    seed: int
    n_items: int
    client: str
    shards: tuple[str, ...]
    paths: dict[str, PlaceOfPath]

    def write(self, folder: Path) -> None:
        """Write it into a sharded bundle."""
        write_json(folder / SHARDS / FILE, self.model_dump(mode="json"))

    @classmethod
    def read(cls, folder: Path) -> Layout:
        """Read it from a sharded bundle.

        Raises:
            BundleError: the bundle is not sharded, or the file is damaged or of another format.
        """
        file = folder / SHARDS / FILE
        if not file.exists():
            raise BundleError(f"{folder}: is not sharded; make shards with `multirecall shard`")
        values = read_json(file)
        if values.get("format") != FORMAT:
            raise BundleError(f"{file}: has format {values.get('format')}, this program reads {FORMAT}; shard again")
        return validate(cls, values, str(file))


def shard_folder(folder: Path, number: int) -> Path:
    """The bundle of one shard of a sharded bundle."""
    return folder / SHARDS / str(number)


def is_sharded(folder: Path) -> bool:
    """Whether the folder holds a sharded bundle."""
    return (folder / SHARDS).is_dir()
