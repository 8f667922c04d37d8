"""Copies and products of a few short rows, in vector registers whatever the compiler makes of loops."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
"""Numbers of 32 bits in a vector: rows are padded to a multiple of it. LLVM splits it where registers are shorter."""

BLOCK = 4
"""Rows that `dots_of_block` takes, and vectors of a row that `add_rows` keeps in registers."""

VECTOR = ir.VectorType(ir.FloatType(), LANES)


def padded(dim: int) -> int:
    """The least multiple of `LANES` that is at least `dim`."""
    return -(-dim // LANES) * LANES


class _Emitter:
    """Emits loads, sums and loops."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        self.context, self.builder, self.signature, self.arguments = context, builder, signature, arguments
        kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
        self._fused = builder.module.declare_intrinsic(f"llvm.fmuladd.v{LANES}f32", (), kind)

    def data(self, position: int) -> Any:
        """The address of the first number of an array."""
        kind = self.signature.args[position]
        return self.context.make_array(kind)(self.context, self.builder, self.arguments[position]).data

    def cell(self) -> Any:
        """A variable that holds a vector; LLVM keeps it in a register."""
        allocate: Any = cgutils.alloca_once
        return allocate(self.builder, VECTOR)

    def whole(self, number: int) -> Any:
        return ir.Constant(ir.IntType(64), number)

    def after(self, place: Any, rows: Any, width: Any) -> Any:
        """`place + rows · width`."""
        return self.builder.add(place, self.builder.mul(rows, width))

    def address(self, data: Any, place: Any, lanes: Any = VECTOR) -> Any:
        return self.builder.bitcast(self.builder.gep(data, [place]), lanes.as_pointer())

    def load(self, data: Any, place: Any) -> Any:
        return self.builder.load(self.address(data, place), align=4)

    def multiply_add(self, left: Any, right: Any, total: Any) -> Any:
        return self.builder.call(self._fused, [left, right, total])

    def pick(self, left: Any, right: Any, lanes: list[int]) -> Any:
        mask = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
        return self.builder.shuffle_vector(left, right, mask)

    def everywhere(self, number: Any) -> Any:
        """A vector of one number."""
        one = self.builder.insert_element(ir.Constant(VECTOR, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
        return self.pick(one, one, [0] * LANES)


def _copy_row(typing: Any, out: Any, first: Any, rows: Any, start: Any, dim: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        emitter = _Emitter(context, builder, signature, arguments)
        out, rows = emitter.data(0), emitter.data(2)
        _, first, _, start, dim = arguments
        with cgutils.for_range_slice(builder, emitter.whole(0), dim, emitter.whole(LANES), inc=True) as (column, _):
            vector = emitter.load(rows, builder.add(start, column))
            builder.store(vector, emitter.address(out, builder.add(first, column)), align=4)
        return context.get_dummy_value()

    size = types.int64
    return types.void(out, size, rows, size, size), emit


copy_row: Any = intrinsic(_copy_row)
"""`copy_row(out, first, rows, start, dim)` in kernels: `out[first : first + dim] = rows[start : start + dim]`.

Arrays are float32, one-dimensional and contiguous; `dim` is a multiple of `LANES`. Nothing is checked."""


def _dots_of_block(typing: Any, rows: Any, start: Any, row: Any, place: Any, dim: Any, out: Any, first: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        emitter = _Emitter(context, builder, signature, arguments)
        rows, row, out = (emitter.data(position) for position in (0, 2, 5))
        _, start, _, place, dim, _, first = arguments
        totals = [emitter.cell() for _ in range(BLOCK)]
        for total in totals:
            builder.store(ir.Constant(VECTOR, None), total)
        with cgutils.for_range_slice(builder, emitter.whole(0), dim, emitter.whole(LANES), inc=True) as (column, _):
            right = emitter.load(row, builder.add(place, column))
            for number, total in enumerate(totals):
                own = emitter.after(builder.add(start, column), emitter.whole(number), dim)
                builder.store(emitter.multiply_add(emitter.load(rows, own), right, builder.load(total)), total)
        sums = [builder.load(total) for total in totals]
        width = LANES
        while width > BLOCK:
            width //= 2
            low, high = list(range(width)), list(range(width, 2 * width))
            sums = [builder.fadd(emitter.pick(one, one, low), emitter.pick(one, one, high)) for one in sums]
        even, odd = [0, 4, 2, 6], [1, 5, 3, 7]
        pairs = [
            builder.fadd(emitter.pick(left, right, even), emitter.pick(left, right, odd))
            for left, right in (sums[:2], sums[2:])
        ]
        first_two, last_two = pairs
        halves = [emitter.pick(first_two, last_two, lanes) for lanes in ([0, 1, 4, 5], [2, 3, 6, 7])]
        found = builder.fadd(*halves)
        builder.store(found, emitter.address(out, first, ir.VectorType(ir.FloatType(), BLOCK)), align=4)
        return context.get_dummy_value()

    size = types.int64
    return types.void(rows, size, row, size, size, out, size), emit


dots_of_block: Any = intrinsic(_dots_of_block)
"""`dots_of_block(rows, start, row, place, dim, out, first)` in kernels: the inner products of the `BLOCK` rows of
`rows[start : start + BLOCK * dim]` with `row[place : place + dim]`, into `out[first : first + BLOCK]`.

Arrays are float32, one-dimensional and contiguous; `dim` is a multiple of `LANES`. Nothing is checked."""


def _add_rows(
    typing: Any, out: Any, first: Any, weights: Any, weight: Any, step: Any, rows: Any, start: Any, n: Any, dim: Any
) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        emitter = _Emitter(context, builder, signature, arguments)
        out, weights, rows = (emitter.data(position) for position in (0, 2, 5))
        _, first, _, weight, step, _, start, n, dim = arguments
        totals = [emitter.cell() for _ in range(BLOCK)]

        def add(column: Any, n_vectors: int) -> None:
            places = [builder.add(column, emitter.whole(number * LANES)) for number in range(n_vectors)]
            for place, total in zip(places, totals, strict=False):
                builder.store(emitter.load(out, builder.add(first, place)), total)
            with cgutils.for_range(builder, n) as loop:
                own = builder.load(builder.gep(weights, [emitter.after(weight, loop.index, step)]))
                factor = emitter.everywhere(own)
                begin = emitter.after(start, loop.index, dim)
                for place, total in zip(places, totals, strict=False):
                    vector = emitter.load(rows, builder.add(begin, place))
                    builder.store(emitter.multiply_add(factor, vector, builder.load(total)), total)
            for place, total in zip(places, totals, strict=False):
                builder.store(builder.load(total), emitter.address(out, builder.add(first, place)), align=4)

        wide = emitter.whole(BLOCK * LANES)
        whole = builder.sub(dim, builder.srem(dim, wide))
        with cgutils.for_range_slice(builder, emitter.whole(0), whole, wide, inc=True) as (column, _):
            add(column, BLOCK)
        with cgutils.for_range_slice(builder, whole, dim, emitter.whole(LANES), inc=True) as (column, _):
            add(column, 1)
        return context.get_dummy_value()

    size = types.int64
    return types.void(out, size, weights, size, size, rows, size, size, size), emit


add_rows: Any = intrinsic(_add_rows)
"""`add_rows(out, first, weights, weight, step, rows, start, n, dim)` in kernels: adds the `n` rows of
`rows[start : start + n * dim]`, row `k` times `weights[weight + k * step]`, to `out[first : first + dim]`.

Arrays are float32, one-dimensional and contiguous; `dim` is a multiple of `LANES`. Nothing is checked."""
