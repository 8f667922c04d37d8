"""`multirecall export`: item vectors and neighbours of a bundle's paths, as parquet for another store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from multirecall.cli.options import Plugins, load_bundle
from multirecall.cli.screen import console
from multirecall.engine import Engine
from multirecall.errors import RequestError
from multirecall.output import require_folder
from multirecall.progress import Progress, terminal_progress
from multirecall.validation import nearest


def export(
    bundle: Annotated[Path, typer.Argument(help="Folder that `multirecall fit` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder for the files; files of the same names are replaced.")],
    vectors: Annotated[
        bool, typer.Option("--vectors", help="Write vectors/PATH.parquet with item_id, vector; default: both.")
    ] = False,
    neighbours: Annotated[
        bool,
        typer.Option("--neighbours", help="Write neighbours/PATH.parquet with item_id, neighbour_id, score."),
    ] = False,
    path: Annotated[
        list[str] | None, typer.Option(help="Name of a path; repeat for each. Default: all that have any.")
    ] = None,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="Most neighbours of an item.")] = 100,
    plugin: Plugins = None,
) -> None:
    """Export what paths know about items, so that another system can serve it.

    The files are those that the retrievers `vectors` and `lists` read.
    """
    require_folder(out, "--out")
    engine = load_bundle(bundle, plugin)
    asked, both = _asked(path, engine.paths), vectors == neighbours
    must_have = bool(path) and not both
    if not {*engine.vector_paths, *engine.neighbour_paths} & {*asked}:
        raise RequestError("export: no path has item vectors or compares items; name others, or fit a path that does")
    with terminal_progress() as progress:
        for name in asked:
            if (vectors or both) and (must_have or name in engine.vector_paths):
                _write(vectors_frame(engine, name), out / "vectors" / f"{name}.parquet")
            if (neighbours or both) and (must_have or name in engine.neighbour_paths):
                _write(neighbours_frame(engine, name, k, progress), out / "neighbours" / f"{name}.parquet")


def vectors_frame(engine: Engine, path: str) -> pl.DataFrame:
    """The columns `item_id` and `vector`, an array of float32."""
    ids, found = engine.vectors(path)
    return pl.DataFrame(
        {"item_id": pl.Series(ids), "vector": pl.Series(found, dtype=pl.Array(pl.Float32, found.shape[1]))}
    )


def neighbours_frame(engine: Engine, path: str, k: int, progress: Progress) -> pl.DataFrame:
    """The columns `item_id`, `neighbour_id` and `score`, item by item, the best neighbour first."""
    items, found, scores = engine.neighbours(path, k, progress=progress)
    return pl.DataFrame({"item_id": pl.Series(items), "neighbour_id": pl.Series(found), "score": scores})


def _asked(given: list[str] | None, paths: tuple[str, ...]) -> Sequence[str]:
    """The paths to export, all by default; raises `RequestError`."""
    unknown = next((name for name in given or () if name not in paths), None)
    if unknown is not None:
        raise RequestError(f"--path: no path is named {unknown!r}; {nearest(unknown, paths)}")
    return given or paths


def _write(frame: pl.DataFrame, file: Path) -> None:
    """Write a file that appears under its name only when it is complete."""
    draft = file.with_name(f".{file.name}.draft")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(draft)
        os.replace(draft, file)
    except OSError as fault:
        raise RequestError(f"--out: {file}: cannot be written ({fault}); check the disk and the permissions") from None
    finally:
        draft.unlink(missing_ok=True)
    console().print(f"{file}: {frame.height:,} rows")
