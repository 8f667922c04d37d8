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
    TOGETHER,
    encode_blocks,
    first_blocks_of,
    keep_lanes,
    n_lines,
    query_bytes,
    score_block,
    score_block_together,
)


@kernel
def scores_of(blocks: Array, query: Array, numbers: Array, offsets: Array) -> tuple[Array, Array]:
    """What `score_block` gives for each block: the scores, float32 (n_blocks, 16), and the bits. See `case`."""
    found, bits = np.empty((len(blocks), LANES), np.float32), np.empty(len(blocks), np.int64)
    codes, asked, terms = query.reshape(1, -1), np.zeros(1, np.int64), numbers.reshape(1, -1)
    for block in range(len(blocks)):
        bits[block] = score_block(blocks, block, codes, asked, terms, 0, offsets, block * LANES, found[block])
    return found, bits


@kernel
def scores_together(blocks: Array, codes: Array, asked: Array, terms: Array, offsets: Array) -> tuple[Array, Array]:
    """What `score_block_together` gives from the second slot on: scores, float32 (n_blocks, 4 · 16), and the bits."""
    found, bits = np.empty((len(blocks), TOGETHER * LANES), np.float32), np.empty(len(blocks), np.int64)
    for block in range(len(blocks)):
        bits[block] = score_block_together(blocks, block, codes, asked, terms, 1, offsets, block * LANES, found[block])
    return found, bits


@kernel
def lanes_kept(
    bits: int, scores: Array, blocks: Array, block: int, raised: Array, first: int
) -> tuple[Array, Array, Array, int]:
    """What `keep_lanes` writes, positions and scores from the second place on, and returns. `raised`: also the most."""
    positions, uppers, lowers = np.zeros(18, np.int32), np.zeros(18, np.float32), np.zeros(17, np.float32)
    n = keep_lanes(bits, scores, 1, blocks, block, raised[0], raised[1], first, positions, uppers, 1, lowers, 0)
    return positions, uppers, lowers, n


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


def codes_of(rng: np.random.Generator, dim: int) -> np.ndarray:
    """The codes of a query."""
    codes = np.empty(8 * n_lines(dim), np.int8)
    query_bytes(rng.normal(size=dim).astype(np.float32), codes)
    return codes


def case(seed: int, n: int, dim: int) -> tuple[np.ndarray, ...]:
    """Blocks; a query's codes; factor, lift, base and bound; and offsets."""
    rng = np.random.default_rng(seed)
    blocks = coded(rng, n, dim)[-1]
    query = codes_of(rng, dim)
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


@given(seed=st.integers(0, 10**6), n=st.integers(6, 90), dim=st.integers(1, 70))
@settings(max_examples=25)
def test_queries_together_get_the_scores_of_each_alone(seed: int, n: int, dim: int) -> None:
    blocks, _, _, offsets = case(seed, n, dim)
    rng = np.random.default_rng(seed)
    codes = np.array([codes_of(rng, dim) for _ in range(3)])
    asked, terms = rng.integers(3, size=1 + TOGETHER), rng.normal(size=(1 + TOGETHER, 4)).astype(np.float32)
    found, bits = scores_together(blocks, codes, asked, terms, offsets)
    for place in range(TOGETHER):
        alone, alone_bits = scores_of(blocks, codes[asked[1 + place]], terms[1 + place], offsets)
        np.testing.assert_array_equal(found[:, LANES * place : LANES * (place + 1)], alone)
        np.testing.assert_array_equal(bits >> LANES * place & 0xFFFF, alone_bits)


@given(seed=st.integers(0, 10**6), bits=st.integers(0, 2**LANES - 1))
@settings(max_examples=50)
def test_the_lanes_of_set_bits_are_kept_side_by_side(seed: int, bits: int) -> None:
    blocks = case(seed, 40, 5)[0]
    rng = np.random.default_rng(seed)
    scores, raised = rng.normal(size=1 + LANES).astype(np.float32), rng.normal(size=2).astype(np.float32)
    positions, uppers, lowers, n = lanes_kept(bits, scores, blocks, 1, raised, 700)
    lanes = [lane for lane in range(LANES) if bits >> lane & 1]
    scales = blocks[1, -64:].view(np.float32)
    assert n == len(lanes)
    assert positions[1 : n + 1].tolist() == [700 + lane for lane in lanes]
    np.testing.assert_array_equal(uppers[1 : n + 1], np.minimum(scores[1:], raised[1])[lanes])
    np.testing.assert_array_equal(lowers[:n], np.minimum(scores[1:] - raised[0] * scales, raised[1])[lanes])
    assert (positions[0], uppers[0]) == (0, 0)


RUN = """
import test_code_blocks as own
for dim in (3, 64):
    found, bits = own.scores_of(*own.case(5, 40, dim))
    print(found.tobytes().hex(), bits.tolist())
    kept = own.lanes_kept(0b1010_1100, found[0].repeat(2), own.case(5, 40, dim)[0], 1, found[1, :2], 32)
    print([array[: kept[3]].tolist() for array in kept[:3]], kept[3])
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
