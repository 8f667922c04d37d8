from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from forking import forked

from multirecall.engine.bundle.journal import FILE, Journal, JournalReader, Pruned
from multirecall.engine.bundle.journal_head import HEAD
from multirecall.engine.bundle.salvage import salvage
from multirecall.errors import BundleError

OWNER = "0123456789abcdef"


def payload(seq: int) -> bytes:
    return bytes([seq % 256]) * (40 + seq)


def numbered(first: int, last: int) -> list[tuple[int, bytes]]:
    return [(seq, payload(seq)) for seq in range(first, last + 1)]


def written(folder: Path, n: int) -> Journal:
    journal = Journal(folder, OWNER, 0)
    journal.append([payload(seq) for seq in range(1, n + 1)])
    return journal


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    live = tmp_path_factory.mktemp("live")
    written(live, 300).close()
    with Journal(live, OWNER, 0) as journal:
        for first in range(301, 601, 50):
            journal.append([payload(seq) for seq in range(first, first + 50)])
        return shutil.copytree(live, live.with_name("original"))


@pytest.fixture
def crashed(original: Path, tmp_path: Path) -> Path:
    """A journal of 600 changes, of which the last 300 stand in the write-ahead log of a writer that is gone."""
    return shutil.copytree(original, tmp_path / "crashed")


def test_numbers_rise_by_one_and_survive_everything(tmp_path: Path) -> None:
    with Journal(tmp_path, OWNER, 0) as journal:
        assert journal.last == 0
        assert list(journal.since(0)) == []
        assert journal.append([payload(1)]) == 1
        assert journal.append([]) == 1
        assert journal.append([payload(2), payload(3)]) == 3
        assert list(journal.since(1)) == numbered(2, 3)
    with Journal(tmp_path, OWNER, 2) as journal:
        assert journal.last == 3
        journal.prune(3)
        assert list(journal.since(3)) == []
    with pytest.raises(Pruned):
        Journal(tmp_path, OWNER, 2)
    with Journal(tmp_path, OWNER, 3) as journal:
        assert journal.last == 3
        assert journal.append([payload(4)]) == 4
        assert list(journal.since(3)) == numbered(4, 4)
        journal.prune(99)
        assert journal.append([payload(5)]) == 5


def test_pruned_changes_are_not_silently_skipped(tmp_path: Path) -> None:
    with written(tmp_path, 9) as journal:
        journal.prune(4)
        journal.prune(2)
        assert list(journal.since(4)) == numbered(5, 9)
        for reader in (journal, JournalReader(tmp_path, OWNER)):
            with pytest.raises(Pruned, match="changes after 3 are asked for, those up to 4 are gone"):
                list(reader.since(3))


def test_pruning_gives_space_back(tmp_path: Path) -> None:
    with Journal(tmp_path, OWNER, 0) as journal:
        for _ in range(40):
            journal.append([bytes(100_000)])
        journal.prune(39)
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 400_000


def test_reader_follows_a_writer_from_before_its_birth(tmp_path: Path) -> None:
    reader = JournalReader(tmp_path, OWNER)
    assert reader.last == 0
    assert list(reader.since(0)) == []
    with written(tmp_path, 700) as journal:
        assert reader.last == 700
        assert list(reader.since(0)) == numbered(1, 700)
        changes = reader.since(690)
        assert next(changes) == (691, payload(691))
        journal.append([payload(701)])
        assert [seq for seq, _ in changes] == list(range(692, 701))
        assert list(reader.since(700)) == numbered(701, 701)
    assert list(reader.since(699)) == numbered(700, 701)


def test_what_a_dead_writer_acknowledged_is_there(crashed: Path) -> None:
    before = {file.name: file.read_bytes() for file in crashed.iterdir() if not file.name.endswith("-shm")}
    assert list(JournalReader(crashed, OWNER).since(0)) == numbered(1, 600)
    assert before == {file.name: file.read_bytes() for file in crashed.iterdir() if not file.name.endswith("-shm")}
    with Journal(crashed, OWNER, 0) as journal:
        assert list(journal.since(0)) == numbered(1, 600)
        assert journal.append([payload(601)]) == 601


def test_commit_that_the_head_has_not_noted_counts(tmp_path: Path) -> None:
    journal = written(tmp_path, 3)
    head = (tmp_path / HEAD).read_bytes()
    journal.append([payload(4)])
    journal.close()
    (tmp_path / HEAD).write_bytes(head)
    assert list(JournalReader(tmp_path, OWNER).since(2)) == numbered(3, 4)
    with Journal(tmp_path, OWNER, 0) as journal:
        assert journal.last == 4
    assert JournalReader(tmp_path, OWNER).last == 4


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


def swap(folder: Path, name: str) -> None:
    other = folder / "other"
    other.mkdir()
    with Journal(other, "another", 0) as journal:
        journal.append([payload(seq) for seq in range(1, 900)])
        content = (other / name).read_bytes() if (other / name).exists() else b""
    shutil.rmtree(other)
    (folder / name).write_bytes(content)


def sql(folder: Path, statement: str) -> None:
    with sqlite3.connect(folder / FILE) as db:
        db.execute(statement)
    db.close()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "no database": lambda folder: (folder / FILE).write_bytes(b"not a database at all" * 400),
    "empty": lambda folder: (folder / FILE).write_bytes(b""),
    "truncated": lambda folder: os.truncate(folder / FILE, 20_000),
    "page header": lambda folder: flip(folder / FILE, (folder / FILE).read_bytes().index(payload(150)) // 4096 * 4096),
    "payload": lambda folder: flip(folder / FILE, (folder / FILE).read_bytes().index(payload(150)) + 9),
    "missing": lambda folder: (folder / FILE).unlink(),
    "swapped": lambda folder: swap(folder, FILE),
    "log lost": lambda folder: (folder / f"{FILE}-wal").unlink(),
    "log empty": lambda folder: (folder / f"{FILE}-wal").write_bytes(b""),
    "log cut": lambda folder: os.truncate(folder / f"{FILE}-wal", (folder / f"{FILE}-wal").stat().st_size - 9),
    "log flipped": lambda folder: flip(folder / f"{FILE}-wal", 9_000),
    "log swapped": lambda folder: swap(folder, f"{FILE}-wal"),
    "head lost": lambda folder: (folder / HEAD).unlink(),
    "head flipped": lambda folder: flip(folder / HEAD, len(OWNER) + 20),
    "head cut": lambda folder: os.truncate(folder / HEAD, 30),
    "head swapped": lambda folder: swap(folder, HEAD),
    "other schema": lambda folder: sql(folder, "ALTER TABLE changes ADD COLUMN more TEXT"),
    "newer": lambda folder: sql(folder, "PRAGMA user_version = 7"),
    "row gone": lambda folder: sql(folder, "DELETE FROM changes WHERE seq = 200"),
    "first gone": lambda folder: sql(folder, "DELETE FROM changes WHERE seq < 20"),
    "end gone": lambda folder: sql(folder, "DELETE FROM changes WHERE seq > 500"),
    "rows exchanged": lambda folder: sql(folder, "UPDATE changes SET payload = x'00' WHERE seq = 5"),
    "no identity": lambda folder: sql(folder, "DELETE FROM identity"),
    "identity twice": lambda folder: sql(folder, "INSERT INTO identity VALUES ('x', 3)"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_told_with_file_and_remedy(crashed: Path, damage: str) -> None:
    DAMAGE[damage](crashed)
    told = r"journal\.(sqlite|head).*restore the bundle from a copy, or keep what can be read: multirecall salvage"
    with pytest.raises(BundleError, match=told):
        list(JournalReader(crashed, OWNER).since(0))
    with pytest.raises(BundleError, match=told), Journal(crashed, OWNER, 0) as journal:
        list(journal.since(0))


@pytest.mark.parametrize("damage", DAMAGE)
def test_salvage_keeps_what_is_whole(crashed: Path, damage: str) -> None:
    DAMAGE[damage](crashed)
    last = salvage(crashed, OWNER, 0)
    with Journal(crashed, OWNER, 0) as journal:
        assert list(journal.since(0)) == numbered(1, last)
        assert journal.append([payload(last + 1)]) == last + 1
    expected = {
        "payload": 149,
        "row gone": 199,
        "head lost": 600,
        "head flipped": 600,
        "log lost": 300,
        "end gone": 500,
    }
    assert last == expected.get(damage, last)
    assert list(crashed.glob("damaged-1-*"))


def test_salvage_goes_on_behind_the_served_version(crashed: Path) -> None:
    (crashed / FILE).write_bytes(b"")
    assert salvage(crashed, OWNER, 420) == 420
    with Journal(crashed, OWNER, 420) as journal:
        assert journal.append([b"next"]) == 421


def test_journal_that_ends_before_what_was_saved(tmp_path: Path) -> None:
    written(tmp_path, 3).close()
    with pytest.raises(BundleError, match="ends at change 3, 4 was acknowledged"):
        Journal(tmp_path, OWNER, 4)
    with pytest.raises(BundleError, match="is missing"):
        Journal(tmp_path / "nowhere", OWNER, 4)


def test_unreadable_and_unwritable_places(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nowhere/journal\.sqlite: unable to open database file; check the disk"):
        Journal(tmp_path / "nowhere", OWNER, 0)
    (tmp_path / FILE).mkdir()
    with pytest.raises(BundleError, match="check the disk and the permissions"):
        Journal(tmp_path, OWNER, 0)
    with pytest.raises(BundleError, match="check the disk and the permissions"):
        list(JournalReader(tmp_path, OWNER).since(0))


def test_full_disk_refuses_and_recovers(tmp_path: Path) -> None:
    with written(tmp_path, 10) as journal:
        db = journal._connection
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages + 3}")
        with pytest.raises(BundleError, match="database or disk is full; check the disk"):
            journal.append([payload(11), bytes(50_000), payload(13)])
        assert journal.last == 10
        assert list(journal.since(0)) == numbered(1, 10)
        db.execute("PRAGMA max_page_count = 1000000")
        assert journal.append([payload(11)]) == 11
    assert list(JournalReader(tmp_path, OWNER).since(0)) == numbered(1, 11)


LIMITED = """
import resource, sys
from pathlib import Path
from multirecall.engine.bundle.journal import Journal
from multirecall.errors import BundleError
journal = Journal(Path(sys.argv[1]), sys.argv[2], 0)
refused = 0
for size in range(20_000, 400_000, 20_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, -1))
    while True:
        try:
            journal.append([bytes(3_000)] * 3)
        except BundleError:
            refused += 1
            break
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
print(refused, journal.last, journal.append([b'end']))
"""


def test_files_that_may_not_grow(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path), OWNER], capture_output=True, text=True, timeout=60, check=True
    )
    refused, acknowledged, end = map(int, done.stdout.split())
    assert refused == 19
    assert end == acknowledged + 1
    changes = list(JournalReader(tmp_path, OWNER).since(0))
    assert changes == [*((seq, bytes(3_000)) for seq in range(1, end)), (end, b"end")]


def test_closed_and_forked(tmp_path: Path) -> None:
    journal = written(tmp_path, 2)

    def append() -> None:
        with pytest.raises(BundleError, match="forked"):
            journal.append([b"from the child"])

    assert os.waitpid(forked(append), 0)[1] == 0
    assert journal.append([payload(3)]) == 3
    journal.close()
    journal.close()
    with pytest.raises(BundleError, match="is closed"):
        journal.append([b"late"])


def batch_end(last: int) -> int:
    """Where the batch after change `last` ends."""
    return last + 2 + last % 7


def test_killed_writers_lose_nothing(tmp_path: Path) -> None:
    """Each child appends, now and then prunes, and is killed; what it acknowledged must be there, and no half batch."""
    rng = np.random.default_rng(3)
    contained = 0
    for kill in range(12):
        tell, told = os.pipe()

        def append_until_killed(contained: int = contained, told: int = told) -> None:
            journal = Journal(tmp_path, OWNER, contained)
            while True:
                first = journal.last + 1
                journal.append([payload(seq) for seq in range(first, batch_end(journal.last) + 1)])
                if first % 5 == 0:
                    journal.prune(first - 20)
                os.write(told, journal.last.to_bytes(8, "little"))

        child = forked(append_until_killed)
        os.close(told)
        acknowledged = [os.read(tell, 8) for _ in range(rng.integers(1, 30))]
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while one := os.read(tell, 8):
            acknowledged.append(one)
        os.close(tell)
        last = int.from_bytes(acknowledged[-1], "little")
        start = max(contained, last - 5)
        changes = list(JournalReader(tmp_path, OWNER).since(start))
        assert len(changes) >= last - start, f"kill {kill}"
        assert changes == numbered(start + 1, changes[-1][0])
        while last < changes[-1][0]:
            last = batch_end(last)
        assert last == changes[-1][0], "no half batch"
        contained = start
