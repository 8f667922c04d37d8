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

TOGETHER = 4
"""Queries for which a block is read once: with more, the sums of a block leave too few registers."""

N_TERMS = 4
"""Numbers that a score of a query takes, see `score_block`."""

PER_LINE = 8
"""Entries of each vector in a line of a block."""

MIDDLE = 7.5
"""The code of an entry that does not differ from the centroid's: half of the largest."""

QUERY_MAX = 127
"""The largest code of a query's entry: with it, sums over 16,384 entries fit int32."""

BYTE, HALF, WORD, LONG = (ir.IntType(bits) for bits in (8, 16, 32, 64))
BYTES, WORDS, FLOATS = ir.VectorType(BYTE, LINE), ir.VectorType(WORD, LANES), ir.VectorType(ir.FloatType(), LANES)
MASKS = ir.VectorType(ir.IntType(1), LANES)


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
def query_bytes(placed: Array, codes: Array) -> tuple[Any, Any]:
    """Writes a query as `codes`, int8 (n_lines · 8,), 0 for what it lacks; their scale, and the sum of the codes."""
    largest = np.float32(0.0)
    for value in placed:
        largest = max(largest, abs(value))
    step = largest / np.float32(QUERY_MAX) if largest > 0.0 else np.float32(1.0)
    codes[placed.size :] = 0
    total = np.int64(0)
    for entry in range(placed.size):
        codes[entry] = np.int8(np.rint(placed[entry] / step))
        total += codes[entry]
    return step, total


def _scorer(n: int) -> Any:
    """The intrinsic that scores a block for `n` queries, in vectors of 512 bits; LLVM splits what no register holds."""

    def score(
        typing: Any,
        blocks: Any,
        block: Any,
        codes: Any,
        asked: Any,
        terms: Any,
        slot: Any,
        offsets: Any,
        first: Any,
        scores: Any,
    ) -> Any:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _, block, _, _, _, slot, _, first, _ = arguments
            stored, coded, numbers, of_slots, lowered, out = (
                _array(context, builder, signature, arguments, place) for place in (0, 2, 3, 4, 6, 8)
            )
            start = builder.gep(stored.data, [builder.mul(block, builder.extract_value(stored.shape, 1))])
            width = builder.extract_value(coded.shape, 1)
            n_lines = builder.udiv(width, ir.Constant(LONG, PER_LINE))
            slots = [builder.add(slot, ir.Constant(LONG, place)) for place in range(n)]
            queries = [
                builder.gep(coded.data, [builder.mul(builder.load(builder.gep(numbers.data, [one])), width)])
                for one in slots
            ]
            has_vnni = "+avx512vnni" in context.codegen().magic_tuple()[2]
            scales, lower = (
                _load(builder, address, FLOATS)
                for address in (
                    builder.gep(start, [builder.mul(n_lines, ir.Constant(LONG, LINE))]),
                    builder.gep(lowered.data, [first]),
                )
            )
            bits = ir.Constant(LONG, 0)
            for place, sums in enumerate(_products(builder, start, queries, n_lines, has_vnni)):
                own = builder.gep(of_slots.data, [builder.mul(slots[place], ir.Constant(LONG, N_TERMS))])
                factor, lift, base, least = (
                    _splat(builder, builder.load(builder.gep(own, [ir.Constant(LONG, term)])))
                    for term in range(N_TERMS)
                )
                raised = builder.fadd(builder.fmul(builder.sitofp(sums, FLOATS), factor), lift)
                found = builder.fsub(builder.fadd(builder.fmul(raised, scales), base), lower)
                row = builder.gep(out.data, [ir.Constant(LONG, place * LANES)])
                builder.store(found, builder.bitcast(row, FLOATS.as_pointer()), align=4)
                reaches = builder.bitcast(builder.fcmp_ordered(">=", found, least), HALF)
                bits = builder.or_(bits, builder.shl(builder.zext(reaches, LONG), ir.Constant(LONG, place * LANES)))
            return bits

        place = types.intp
        return types.int64(blocks, place, codes, asked, terms, place, offsets, place, scores), emit

    return intrinsic(score)


def _products(builder: Any, start: Any, queries: list[Any], n_lines: Any, has_vnni: bool) -> list[Any]:
    """For each query the inner products of its codes and those of the 16 vectors from `start` on, int32."""
    words = [builder.bitcast(query, WORD.as_pointer()) for query in queries]
    before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
    builder.branch(loop)
    builder.position_at_end(loop)
    line, sums = builder.phi(LONG), [[builder.phi(WORDS) for _ in range(2)] for _ in queries]
    line.add_incoming(ir.Constant(LONG, 0), before)
    both = _load(builder, builder.gep(start, [builder.mul(line, ir.Constant(LONG, LINE))]), BYTES)
    low = builder.and_(both, ir.Constant(BYTES, [15] * LINE))
    high = builder.lshr(both, ir.Constant(BYTES, [4] * LINE))
    places = [builder.add(builder.add(line, line), ir.Constant(LONG, half)) for half in range(2)]
    totals = []
    for own, halves in zip(words, sums, strict=True):
        added = []
        for place, codes, total in zip(places, (low, high), halves, strict=True):
            four = builder.bitcast(_splat(builder, _load(builder, builder.gep(own, [place]), WORD)), BYTES)
            added.append(_add_products(builder, total, codes, four, has_vnni))
            total.add_incoming(ir.Constant(WORDS, [0] * LANES), before)
            total.add_incoming(added[-1], loop)
        totals.append(added)
    following = builder.add(line, ir.Constant(LONG, 1))
    line.add_incoming(following, loop)
    builder.cbranch(builder.icmp_unsigned("<", following, n_lines), loop, after)
    builder.position_at_end(after)
    return [builder.add(*halves) for halves in totals]


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


def _keep_lanes(
    typing: Any,
    bits: Any,
    scores: Any,
    at: Any,
    blocks: Any,
    block: Any,
    raised: Any,
    most: Any,
    first: Any,
    positions: Any,
    uppers: Any,
    place: Any,
    lowers: Any,
    lowers_place: Any,
) -> Any:
    """Emit `keep_lanes`: with AVX-512 a compression in a register, else the loop that LLVM makes of one in memory."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits, _, at, _, block, raised, most, first, _, _, place, _, lowers_place = arguments
        scored, stored, kept, above, below = (
            _array(context, builder, signature, arguments, number) for number in (1, 3, 8, 9, 11)
        )
        width = builder.extract_value(stored.shape, 1)
        end = builder.gep(stored.data, [builder.mul(builder.add(block, ir.Constant(LONG, 1)), width)])
        scales = _load(builder, builder.gep(end, [ir.Constant(LONG, -LINE)]), FLOATS)
        found = _load(builder, builder.gep(scored.data, [at]), FLOATS)
        reach = _splat(builder, most)
        ahead = ir.Constant(WORDS, list(range(LANES)))
        numbers = builder.add(_splat(builder, builder.trunc(first, WORD)), ahead)
        lower = builder.fsub(found, builder.fmul(scales, _splat(builder, raised)))
        mask = builder.bitcast(builder.trunc(bits, HALF), MASKS)
        in_register = "+avx512f" in context.codegen().magic_tuple()[2]
        for address, values in (
            (builder.gep(kept.data, [place]), numbers),
            (builder.gep(above.data, [place]), _least(builder, found, reach)),
            (builder.gep(below.data, [lowers_place]), _least(builder, lower, reach)),
        ):
            _compress(builder, builder.bitcast(values, WORDS), mask, address, in_register)
        return builder.ctpop(bits)

    one, number = types.float32, types.intp
    return types.int64(
        number, scores, number, blocks, number, one, one, number, positions, uppers, number, lowers, number
    ), emit


def _least(builder: Any, left: Any, right: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", left, right), left, right)


def _compress(builder: Any, words: Any, mask: Any, address: Any, in_register: bool) -> None:
    """Store the words, 16 of int32, whose bit is set in the mask, side by side; what follows may be overwritten."""
    address = builder.bitcast(address, WORD.as_pointer())
    if in_register:
        kind = ir.FunctionType(WORDS, [WORDS, WORDS, MASKS])
        compress = builder.module.declare_intrinsic("llvm.x86.avx512.mask.compress.v16i32", (), kind)
        packed = builder.call(compress, [words, ir.Constant(WORDS, [0] * LANES), mask])
        builder.store(packed, builder.bitcast(address, WORDS.as_pointer()), align=4)
    else:
        kind = ir.FunctionType(ir.VoidType(), [WORDS, WORD.as_pointer(), MASKS])
        store = builder.module.declare_intrinsic("llvm.masked.compressstore.v16i32", (), kind)
        builder.call(store, [words, address, mask])


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


score_block, score_block_together = _scorer(1), _scorer(TOGETHER)
"""`score_block(blocks, block, codes, asked, terms, slot, offsets, first, scores)` in kernels, for one query or
`TOGETHER`, those of the slots from `slot` on.

The query of a slot is row `asked[slot]` of `codes`, int8 (n, n_lines · 8) from `query_bytes`; its `terms`, float32
(n_slots, 4), are a factor, a lift, a base and a bound. Written to `scores`, float32 (16,) or (`TOGETHER` · 16,), are
those of the 16 vectors of a block, `base + scale · (factor · products + lift) - offsets[first + lane]`. Returns an
int64 whose bit `16 · i + lane` says whether that score of query `i` is at least its bound."""

keep_lanes: Any = intrinsic(_keep_lanes)
"""`keep_lanes(bits, scores, at, blocks, block, raised, most, first, positions, uppers, place, lowers, lowers_place)` in
kernels.

Of the vectors of a block whose bit is set, writes from `place` on their positions, `first + lane`, int32, and their
scores, from `scores[at]` on; and from `lowers_place` on the scores lowered by `raised · scale`. No score is above
`most`; all are float32. The arrays are one-dimensional and need room for 16. Returns how many these vectors are."""

scales_of: Any = intrinsic(_scales_of)
"""`scales_of(blocks, block, scales)` in kernels: writes the scales of a block to `scales`, float32 (16,)."""
