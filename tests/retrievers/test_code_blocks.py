from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multirecall.kernels import Array, kernel
from multirecall.retrievers._index.code_blocks import (
    LANES,
    encode_blocks,
    first_blocks_of,
    query_bytes,
    score_block,
)


@kernel
def scores_of(blocks: Array, query: Array, numbers: Array, offsets: Array) -> tuple[Array, Array]:
    """What `score_block` gives for each block: the scores, float32 (n_blocks, 16), and the bits. See `case`."""
    factor, lift, base, least = numbers
    found, bits = np.empty((len(blocks), LANES), np.float32), np.empty(len(blocks), np.int64)
    for block in range(len(blocks)):
        bits[block] = score_block(
            blocks, block, query, factor, lift, base, offsets, np.int64(block * LANES), least, found[block]
        )
    return found, bits


def coded(rng: np.random.Generator, n: int, dim: int) -> tuple[np.ndarray, ...]:
    """Vectors in three cells, and the arrays of the cells."""
    placed = rng.normal(size=(n, dim)).astype(np.float32)
    starts = np.array([0, n // 3, n // 2, n])
    centroids = rng.integers(-127, 128, (3, dim)).astype(np.int8)
    scales = rng.random(3).astype(np.float32) / 127
    first_blocks = first_blocks_of(starts)
    return (
        placed,
        starts,
        first_blocks,
        centroids,
        scales,
        encode_blocks(placed, starts, first_blocks, centroids, scales),
    )


def codes_in(block: np.ndarray, lane: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """The codes and the scale of a vector, as the docstring of the module says where they are."""
    codes = [(block[entry // 8 * 64 + 4 * lane + entry % 4] >> 4 * (entry % 8 // 4)) & 15 for entry in range(dim)]
    return np.array(codes, np.int64), block[-64:].view(np.float32)[lane]


@given(seed=st.integers(0, 10**6), n=st.integers(6, 90), dim=st.integers(1, 70))
@settings(max_examples=25)
def test_vectors_are_within_half_a_step_of_their_codes(seed: int, n: int, dim: int) -> None:
    placed, starts, first_blocks, centroids, scales, blocks = coded(np.random.default_rng(seed), n, dim)
    for cell in range(3):
        for position in range(starts[cell], starts[cell + 1]):
            place = position - starts[cell]
            codes, scale = codes_in(blocks[first_blocks[cell] + place // LANES], place % LANES, dim)
            shown = centroids[cell] * scales[cell] + (codes - 7.5) * scale
            assert np.abs(shown - placed[position]).max() <= 0.5001 * scale + 1e-6
            assert {codes.min(), codes.max()} & {0, 15}


def case(seed: int, n: int, dim: int) -> tuple[np.ndarray, ...]:
    """Blocks; a query's codes; factor, lift, base and bound; and offsets."""
    rng = np.random.default_rng(seed)
    blocks = coded(rng, n, dim)[-1]
    query, _, _ = query_bytes(rng.normal(size=dim).astype(np.float32))
    return blocks, query, rng.normal(size=4).astype(np.float32), rng.normal(size=16 * len(blocks)).astype(np.float32)


@given(seed=st.integers(0, 10**6), n=st.integers(6, 90), dim=st.integers(1, 70))
@settings(max_examples=25)
def test_scores_of_blocks_are_those_of_a_loop(seed: int, n: int, dim: int) -> None:
    blocks, query, numbers, offsets = case(seed, n, dim)
    factor, lift, base, least = numbers
    found, bits = scores_of(blocks, query, numbers, offsets)
    for block in range(len(blocks)):
        for lane in range(LANES):
            codes, scale = codes_in(blocks[block], lane, dim)
            product = np.float32(codes @ query[:dim].astype(np.int64))
            expected = (product * factor + lift) * scale + base - offsets[LANES * block + lane]
            assert found[block, lane] == expected
            assert bool(bits[block] >> lane & 1) == (expected >= least)


def test_the_largest_sums_do_not_overflow() -> None:
    """In 16,384 entries, all codes of vector and query are the largest."""
    dim = 16_384
    blocks = np.full((1, 64 * (dim // 8 + 1)), 255, np.uint8)
    blocks[0, -64:].view(np.float32)[:] = 1.0
    numbers = np.array([1.0, 0.0, 0.0, 0.0], np.float32)
    found, _ = scores_of(blocks, np.full(dim, 127, np.int8), numbers, np.zeros(16, np.float32))
    assert found.tolist() == [[np.float32(15 * 127 * dim)] * LANES]


RUN = """
import test_code_blocks as own
for dim in (3, 64):
    found, bits = own.scores_of(*own.case(5, 40, dim))
    print(found.tobytes().hex(), bits.tolist())
"""


@pytest.mark.parametrize("features", ["+sse2", "+sse4.2,+avx,+avx2,+fma"])
def test_processors_without_fused_products_find_the_same(features: str) -> None:
    environment = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": features}
    shown = [
        subprocess.run(
            [sys.executable, "-c", RUN],
            cwd=os.path.dirname(__file__),
            env=environ,
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        ).stdout
        for environ in ({**os.environ}, environment)
    ]
    assert shown[0] == shown[1] != ""
