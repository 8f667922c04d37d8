"""Vectors as 4-bit codes in blocks of 16, which one pass over memory scores together.

A vector is coded by what it differs by from the centroid of its cell: each entry is about `(code - 7.5) · scale`. The
codes of 16 vectors lie side by side (as in the quick scan of André, Kermarrec & Le Scouarnec, VLDB 2015), so that one
instruction multiplies four entries of all of them, and no sum has to be taken across a register.

A block is `n_lines(dim) + 1` lines of 64 bytes. In line `l`, the byte `4 · lane + j` has the codes of the entries
`8 · l + j` (low half) and `8 · l + 4 + j` (high half) of the vector `lane`. The last line has the scales, float32, of
the vectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from multirecall.csr import offsets_of
from multirecall.kernels import LINE, Array, kernel

LANES = 16
"""Vectors of a block."""

PER_LINE = 8
"""Entries of each vector in a line of a block."""

MIDDLE = 7.5
"""The code of an entry that does not differ from the centroid's: half of the largest."""

QUERY_MAX = 127
"""The largest code of a query's entry: with it, sums over 16,384 entries fit int32."""

BYTE, HALF, WORD, LONG = (ir.IntType(bits) for bits in (8, 16, 32, 64))
BYTES, WORDS, FLOATS = ir.VectorType(BYTE, LINE), ir.VectorType(WORD, LANES), ir.VectorType(ir.FloatType(), LANES)


@kernel
def n_lines(dim: int) -> int:
    """Lines of codes in a block of vectors of this length."""
    return (dim + PER_LINE - 1) // PER_LINE


def first_blocks_of(starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first block of each cell, whose blocks are its own, int64 (n_cells + 1,)."""
    return offsets_of((np.diff(starts) + LANES - 1) // LANES)


@kernel
def encode_blocks(placed: Array, starts: Array, first_blocks: Array, centroids: Array, centroid_scales: Array) -> Array:
    """The vectors of all cells in blocks, uint8 (n_blocks, (n_lines + 1) · 64).

    Args:
        placed: float32 (n, dim), in the order of the cells.
        starts, first_blocks, centroids, centroid_scales: see `Cells`.
    """
    dim = placed.shape[1]
    lines = n_lines(dim)
    blocks = np.zeros((first_blocks[-1], (lines + 1) * LINE), np.uint8)
    rest, scale = np.empty(dim, np.float32), np.empty(1, np.float32)
    for cell in range(starts.size - 1):
        for position in range(starts[cell], starts[cell + 1]):
            place = position - starts[cell]
            block, lane = blocks[first_blocks[cell] + place // LANES], place % LANES
            largest = np.float32(0.0)
            for entry in range(dim):
                rest[entry] = placed[position, entry] - np.float32(centroids[cell, entry]) * centroid_scales[cell]
                largest = max(largest, abs(rest[entry]))
            scale[0] = largest / np.float32(MIDDLE)
            factor = MIDDLE / np.float64(largest) if largest > 0.0 else 0.0
            for entry in range(dim):
                code = np.uint8(min(max(np.rint(rest[entry] * factor + MIDDLE), 0.0), 2 * MIDDLE))
                line, within = entry // PER_LINE, entry % PER_LINE
                block[line * LINE + 4 * lane + within % 4] |= np.uint8(code << (4 * (within // 4)))
            block[lines * LINE + 4 * lane : lines * LINE + 4 * lane + 4] = scale.view(np.uint8)
    return blocks


@kernel
def query_bytes(placed: Array) -> tuple[Array, Any, Any]:
    """A query as codes, int8 (n_lines · 8,), their scale, and the sum of the codes; as 0 are what it lacks."""
    largest = np.float32(0.0)
    for value in placed:
        largest = max(largest, abs(value))
    step = largest / np.float32(QUERY_MAX) if largest > 0.0 else np.float32(1.0)
    codes = np.zeros(n_lines(placed.size) * PER_LINE, np.int8)
    total = np.int64(0)
    for entry in range(placed.size):
        codes[entry] = np.int8(np.rint(placed[entry] / step))
        total += codes[entry]
    return codes, step, total


def _score_block(
    typing: Any,
    blocks: Any,
    block: Any,
    query: Any,
    factor: Any,
    lift: Any,
    base: Any,
    offsets: Any,
    first: Any,
    least: Any,
    scores: Any,
) -> Any:
    """Emit `score_block` in vectors of 512 bits, which LLVM splits where registers are shorter."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, block, _, factor, lift, base, _, first, least, _ = arguments
        stored, asked, lowered, out = (_array(context, builder, signature, arguments, place) for place in (0, 2, 6, 9))
        start = builder.gep(stored.data, [builder.mul(block, builder.extract_value(stored.shape, 1))])
        n_lines = builder.udiv(builder.extract_value(asked.shape, 0), ir.Constant(LONG, PER_LINE))
        has_vnni = "+avx512vnni" in context.codegen().magic_tuple()[2]
        products = builder.sitofp(_products(builder, start, asked.data, n_lines, has_vnni), FLOATS)
        scales = _load(builder, builder.gep(start, [builder.mul(n_lines, ir.Constant(LONG, LINE))]), FLOATS)
        raised = builder.fadd(builder.fmul(products, _splat(builder, factor)), _splat(builder, lift))
        found = builder.fadd(builder.fmul(raised, scales), _splat(builder, base))
        found = builder.fsub(found, _load(builder, builder.gep(lowered.data, [first]), FLOATS))
        builder.store(found, builder.bitcast(out.data, FLOATS.as_pointer()), align=4)
        reaches = builder.fcmp_ordered(">=", found, _splat(builder, least))
        return builder.zext(builder.bitcast(reaches, HALF), LONG)

    one, place = types.float32, types.intp
    return types.int64(blocks, place, query, one, one, one, offsets, place, one, scores), emit


def _products(builder: Any, start: Any, query: Any, n_lines: Any, has_vnni: bool) -> Any:
    """The inner products of a query's codes and those of the 16 vectors from `start` on, int32."""
    words = builder.bitcast(query, WORD.as_pointer())
    before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
    builder.branch(loop)
    builder.position_at_end(loop)
    line, sums = builder.phi(LONG), (builder.phi(WORDS), builder.phi(WORDS))
    line.add_incoming(ir.Constant(LONG, 0), before)
    both = _load(builder, builder.gep(start, [builder.mul(line, ir.Constant(LONG, LINE))]), BYTES)
    low = builder.and_(both, ir.Constant(BYTES, [15] * LINE))
    high = builder.lshr(both, ir.Constant(BYTES, [4] * LINE))
    totals = []
    for half, codes in enumerate((low, high)):
        place = builder.add(builder.add(line, line), ir.Constant(LONG, half))
        four = builder.bitcast(_splat(builder, _load(builder, builder.gep(words, [place]), WORD)), BYTES)
        totals.append(_add_products(builder, sums[half], codes, four, has_vnni))
        sums[half].add_incoming(ir.Constant(WORDS, [0] * LANES), before)
        sums[half].add_incoming(totals[half], loop)
    following = builder.add(line, ir.Constant(LONG, 1))
    line.add_incoming(following, loop)
    builder.cbranch(builder.icmp_unsigned("<", following, n_lines), loop, after)
    builder.position_at_end(after)
    return builder.add(*totals)


def _add_products(builder: Any, sums: Any, codes: Any, query: Any, has_vnni: bool) -> Any:
    """`sums`, 16 of int32, plus for each the four products of unsigned `codes` and signed bytes of the `query`."""
    if has_vnni:
        kind = ir.FunctionType(WORDS, [WORDS] * 3)
        fused = builder.module.declare_intrinsic("llvm.x86.avx512.vpdpbusd.512", (), kind)
        return builder.call(fused, [sums, builder.bitcast(codes, WORDS), builder.bitcast(query, WORDS)])
    wide = ir.VectorType(WORD, LINE)
    products = builder.mul(builder.zext(codes, wide), builder.sext(query, wide))
    for size in (LINE // 2, LANES):
        parts = [ir.Constant(ir.VectorType(WORD, size), [2 * place + part for place in range(size)]) for part in (0, 1)]
        products = builder.add(*(builder.shuffle_vector(products, products, part) for part in parts))
    return builder.add(sums, products)


def _scales_of(typing: Any, blocks: Any, block: Any, scales: Any) -> Any:
    """Emit `scales_of`: a copy of the last line of a block."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        stored, out = (_array(context, builder, signature, arguments, place) for place in (0, 2))
        width = builder.extract_value(stored.shape, 1)
        end = builder.mul(builder.add(arguments[1], ir.Constant(LONG, 1)), width)
        line = _load(builder, builder.gep(stored.data, [builder.sub(end, ir.Constant(LONG, LINE))]), FLOATS)
        builder.store(line, builder.bitcast(out.data, FLOATS.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(blocks, types.intp, scales), emit


def _array(context: Any, builder: Any, signature: Any, arguments: Any, place: int) -> Any:
    return context.make_array(signature.args[place])(context, builder, arguments[place])


def _load(builder: Any, address: Any, kind: Any) -> Any:
    return builder.load(builder.bitcast(address, kind.as_pointer()), align=1)


def _splat(builder: Any, value: Any) -> Any:
    vector = ir.VectorType(value.type, LANES)
    single = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(WORD, 0))
    return builder.shuffle_vector(single, single, ir.Constant(WORDS, [0] * LANES))


score_block: Any = intrinsic(_score_block)
"""`score_block(blocks, block, query, factor, lift, base, offsets, first, least, scores)` in kernels.

Writes the scores of the 16 vectors of a block, `base + scale · (factor · products + lift) - offsets[first + lane]`, to
`scores`, float32 (16,). Returns an int64 whose bit `lane` says whether that score is at least `least`. `query` are
codes from `query_bytes`; `factor`, `lift`, `base` and `least` are float32."""

scales_of: Any = intrinsic(_scales_of)
"""`scales_of(blocks, block, scales)` in kernels: writes the scales of a block to `scales`, float32 (16,)."""
