"""Writing the candidates of many users, and refusing files that cannot be written before the work is done."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from multirecall import Engine, EngineConfig
from multirecall.engine.export import answer_in_order
from multirecall.errors import IdTypeError, RequestError
from multirecall.output import require_file, require_folder
from multirecall.testing import small_shop

READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    "parquet": pl.read_parquet,
    "pq": pl.read_parquet,
    "arrow": pl.read_ipc,
    "feather": pl.read_ipc,
    "csv": pl.read_csv,
    "jsonl": pl.read_ndjson,
    "ndjson": pl.read_ndjson,
    "CSV": pl.read_csv,
}


@pytest.fixture(scope="module")
def engine() -> Engine:
    paths = [{"retriever": "item_cf", "quota": 3}, {"retriever": "popularity", "quota": 2}]
    return Engine(EngineConfig.model_validate({"paths": paths})).fit(small_shop())


@pytest.mark.parametrize("suffix", READERS)
def test_the_suffix_names_the_format(engine: Engine, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"candidates.{suffix}"
    users = [1, 2, 3]
    assert engine.write_candidates(users, file, 6, chunk=2) == 18
    expected = engine.retrieve_batch(users, 6).to_polars()
    found = READERS[suffix](file)
    assert found.columns == expected.columns
    assert found.cast(expected.schema).equals(expected)
    assert [one.name for one in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize("name", ["c.xlsx", "c", "c.csv.gz", "c.parquet.txt"])
def test_an_unknown_suffix_is_refused_before_any_request(engine: Engine, tmp_path: Path, name: str) -> None:
    def users() -> Iterator[int]:
        raise AssertionError("nobody may be asked for")
        yield 1

    with pytest.raises(RequestError, match=r"no format ends in .*name a file that ends in \.parquet"):
        engine.write_candidates(users(), tmp_path / name)
    with pytest.raises(RequestError, match="none is no folder"):
        engine.write_candidates(users(), tmp_path / "none" / "c.csv")
    assert not any(tmp_path.iterdir())


def test_one_state_for_the_whole_file(tmp_path: Path) -> None:
    config = EngineConfig.model_validate({"paths": [{"retriever": "popularity"}]})
    engine = Engine(config).fit(small_shop())
    first = engine.retrieve(2, 5, seen=True)
    gone, dtype = first[0].item_id, engine.data.items.ids.dtype

    def users() -> Iterator[int]:
        yield 1
        yield 2
        engine.remove_items([gone])
        engine.refresh().result()
        yield 2

    engine.write_candidates(users(), tmp_path / "c.parquet", 5, chunk=1, seen=True)
    frame = pl.read_parquet(tmp_path / "c.parquet").filter(user_id=2)
    assert frame["item_id"].to_list() == first.ids.tolist() * 2
    assert gone not in engine.retrieve(2, 5, seen=True).ids
    assert engine.data.items.ids.dtype == dtype


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv"])
def test_the_file_does_not_depend_on_the_number_of_threads(engine: Engine, tmp_path: Path, suffix: str) -> None:
    users = [1, 2, 99, 3, 5, 2, 8]
    files = [tmp_path / f"{threads}.{suffix}" for threads in (1, 2, 3)]
    for threads, file in enumerate(files, 1):
        assert engine.write_candidates(users, file, 6, chunk=2, threads=threads) == 42
    assert len({file.read_bytes() for file in files}) == 1


@pytest.mark.parametrize("threads", [1, 3])
def test_what_fails_leaves_nothing(engine: Engine, tmp_path: Path, threads: int) -> None:
    """The error is that of the part that failed, whatever was begun behind it."""
    for suffix in ("parquet", "csv"):
        with pytest.raises(IdTypeError, match="user ids are int"):
            engine.write_candidates(
                [1, 2, 3, "4", *range(5, 30)], tmp_path / f"c.{suffix}", 6, chunk=2, threads=threads
            )
    assert not any(tmp_path.iterdir())


def test_few_chunks_wait() -> None:
    """No more users are read than the threads need: those of the chunks that are being answered, and one more."""
    started = []

    def parts() -> Iterator[tuple[int, list[Any]]]:
        for number in range(30):
            started.append(number)
            yield number, [number]

    begun = [len(started) for _ in answer_in_order(lambda part: pl.DataFrame({"n": part[1]}), parts(), threads=2)]
    assert len(begun) == 30
    assert all(n_read <= number + 4 for number, n_read in enumerate(begun))


@pytest.mark.parametrize("threads", [0, 1.5, True])
def test_an_unusable_number_of_threads_is_refused(engine: Engine, tmp_path: Path, threads: Any) -> None:
    with pytest.raises(RequestError, match=r"threads must be a whole number > 0, or 'auto'"):
        engine.write_candidates([1], tmp_path / "c.parquet", threads=threads)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_protected_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(RequestError, match="no right to write"):
        require_file(tmp_path / "locked" / "x.csv", "--out")
    with pytest.raises(RequestError, match="no right to write"):
        require_folder(tmp_path / "locked" / "a" / "b", "--out")


def test_a_file_is_no_folder_and_the_other_way_round(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RequestError, match=r"--out: .*file is a file, so .* cannot be a folder"):
        require_folder(tmp_path / "file" / "bundle", "--out")
    with pytest.raises(RequestError, match="is a folder; name a file in it"):
        require_file(tmp_path, "--report")
    with pytest.raises(RequestError, match="is no folder; create it"):
        require_file(tmp_path / "file" / "x", "--report")
    require_folder(tmp_path / "a" / "b" / "c", "--out")
    require_file(tmp_path / "new.html", "--report")
    assert [one.name for one in tmp_path.iterdir()] == ["file"], "nothing is made"
