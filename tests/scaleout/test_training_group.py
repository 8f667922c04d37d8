"""Several processes that train a model together, over gloo on the loopback interface."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from trains_in_a_group import outcome_of

from multirecall.retrievers._towers.batches import Batch
from multirecall.retrievers._towers.group import Group
from multirecall.retrievers._towers.histories import Histories

TESTS = Path(__file__).resolve().parents[1]
LIMIT_S = 240
EQUAL = ["profiles", "triplet", "gbce", "sequences", "penalty", "texts", "several", "asking", "held_out"]
RANDOM = ["bfloat16", "dropped", "dropped_again", "resumed"]
FEW = ["few", "few_texts", "few_events"]
Found = list[dict[str, NDArray[Any]]]

slow = pytest.mark.slow


def start_group(size: int, out: Path, *cases: str) -> list[subprocess.Popen[str]]:
    """Start the processes of a group."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    return [
        subprocess.Popen(
            [sys.executable, str(TESTS / "trains_in_a_group.py"), str(out), *cases],
            env={**os.environ, **shared, "RANK": str(rank), "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


def errors_of(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """The exit status of each process, and what it wrote to standard error."""
    try:
        return [(one.wait(), said) for one in processes for said in (one.communicate(timeout=LIMIT_S)[1],)]
    finally:
        for one in processes:
            one.kill()


def trained(size: int, folder: Path, *cases: str) -> Found:
    """What the processes of a group found."""
    for status, said in errors_of(start_group(size, folder / "out", *cases)):
        assert status == 0, said
    found = []
    for rank in range(size):
        with np.load(folder / f"out-{rank}.npz") as arrays:
            found.append(dict(arrays))
    return found


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return trained(2, tmp_path_factory.mktemp("two"), "rows", *EQUAL, *RANDOM)


@pytest.fixture(scope="module")
def by_three(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return trained(3, tmp_path_factory.mktemp("three"), *FEW)


def difference(found: Found, case: str, name: str, alone: dict[str, NDArray[Any]]) -> float:
    own, other = alone[f"{case}-{name}"], found[0][f"{case}-{name}"]
    assert own.shape == other.shape
    return float(np.abs(own - other).max(initial=0.0))


@slow
@pytest.mark.usefixtures("one_torch_thread")
@pytest.mark.parametrize("case", EQUAL)
def test_two_processes_learn_what_one_learns(case: str, by_two: Found) -> None:
    alone = outcome_of(case)
    assert difference(by_two, case, "losses", alone) < 1e-5
    assert difference(by_two, case, "vectors", alone) < 1e-4
    assert by_two[0][f"{case}-recalls"].tolist() == alone[f"{case}-recalls"].tolist()
    assert alone[f"{case}-recalls"].size == (3 if case == "held_out" else 0)


@slow
@pytest.mark.usefixtures("one_torch_thread")
@pytest.mark.parametrize("case", FEW)
def test_a_process_may_have_no_part_of_a_batch(case: str, by_three: Found) -> None:
    alone = outcome_of(case)
    assert difference(by_three, case, "losses", alone) < 1e-4
    assert difference(by_three, case, "vectors", alone) < 1e-3


@slow
def test_all_processes_have_the_same_model_to_the_bit(by_two: Found, by_three: Found) -> None:
    for first, *others in (by_two, by_three):
        for name, array in first.items():
            assert all(np.array_equal(array, other[name]) for other in others), name


@slow
@pytest.mark.usefixtures("one_torch_thread")
@pytest.mark.parametrize(("case", "noise"), [("bfloat16", 0.01), ("dropped", 0.02)])
def test_rounding_and_dropout_differ_within_noise(case: str, noise: float, by_two: Found) -> None:
    alone, together = outcome_of(case)[f"{case}-losses"], by_two[0][f"{case}-losses"]
    half = alone.size // 2
    assert alone[:half].mean() > alone[half:].mean() + 2 * noise
    assert abs(alone[half:].mean() - together[half:].mean()) < noise * alone[half:].mean()


@slow
def test_the_same_seed_gives_the_same_model_also_from_a_checkpoint(by_two: Found) -> None:
    found = by_two[0]
    for other in ("dropped_again", "resumed"):
        assert np.array_equal(found["dropped-vectors"], found[f"{other}-vectors"])
    assert np.array_equal(found["dropped-losses"], found["dropped_again-losses"])
    assert 0 < found["resumed-losses"].size < found["dropped-losses"].size


@slow
def test_rows_are_summed_as_whole_tables_are(by_two: Found) -> None:
    for part in range(2):
        rows, sums, table = (by_two[0][f"rows-{name}{part}"] for name in ("rows", "sums", "table"))
        assert rows.tolist() == np.flatnonzero(table.any(axis=1)).tolist()
        assert np.array_equal(sums, table[rows])


@slow
def test_a_process_that_fails_ends_the_others(tmp_path: Path) -> None:
    (first, heard), (second, said) = errors_of(start_group(2, tmp_path / "out", "fails"))
    assert second
    assert "the disk of this process is full" in said
    assert first == 1
    assert "ProcessLost: another process of the training has ended or does not answer" in heard


@slow
def test_processes_with_other_settings_are_refused_in_all(tmp_path: Path) -> None:
    for status, said in errors_of(start_group(2, tmp_path / "out", "differs")):
        assert status == 1
        assert "DataError: process 1 of the training differs from process 0: all must have the same data" in said


@slow
def test_batch_norm_is_refused(tmp_path: Path) -> None:
    for status, said in errors_of(start_group(2, tmp_path / "out", "normed")):
        assert status == 1
        assert "ConfigError: two_tower: norm = 'batch' needs whole batches" in said
        assert "set norm = 'layer' or 'none'" in said


def batch_of(sizes: list[int], causal: bool) -> Batch:
    offsets = np.append(0, np.cumsum(sizes))
    events = np.arange(offsets[-1], dtype=np.int32)
    column = events.astype(np.float32)
    users = np.arange(len(sizes), dtype=np.int32)
    targets = events if causal else users
    histories = Histories(offsets, events, column, column, column)
    return Batch(users, histories, targets, 1 + targets.astype(np.float32), users.astype(np.float32))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("sizes", [[3, 1, 4, 1, 5], [7], [1, 1], [2, 90, 1]])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_the_parts_of_a_batch_are_the_batch(size: int, sizes: list[int], causal: bool) -> None:
    batch = batch_of(sizes, causal)
    shares = [batch.share(Group(rank, size, torch.device("cpu"))) for rank in range(size)]
    assert all(share.batch.users.size for share in shares)
    own = [share.batch for share in shares if share.users]
    assert np.concatenate([one.users for one in own]).tolist() == batch.users.tolist()
    assert np.concatenate([one.targets for one in own]).tolist() == batch.targets.tolist()
    assert np.concatenate([one.histories.items for one in own]).tolist() == batch.histories.items.tolist()
    lengths = np.concatenate([np.diff(one.histories.offsets) for one in own])
    assert lengths.tolist() == sizes
    assert sum(share.weight for share in shares) == pytest.approx(1)
    assert sum(share.users for share in shares) == pytest.approx(1)
    for share in shares:
        expected = share.batch.weights.sum() / batch.weights.sum() if share.users else 0
        assert share.weight == pytest.approx(expected)
