"""Columns of codes: what the code of an item adds to its sum, for all items in order or for some of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from multirecall.kernels import LINE, Array, kernel, prefetch
from multirecall.selection import BLOCK, candidates_of, keys_of, write_peaks

NO_CODE = 255
"""The code of an item without a value in a column: the largest uint8."""

AT_ONCE = 16
"""Codes that `add_by_code` looks up at once, in a table of as many addends: 16 float32 are a register of 512 bits."""

TOGETHER = 1_024
"""Items in a block to which all columns add: the sums, 4 KiB, stay in the first-level cache. A multiple of `BLOCK`."""

FAR_AHEAD = 16
"""Items whose codes are prefetched before their use."""

BYTE, WORD, SINGLE = ir.IntType(8), ir.IntType(32), ir.FloatType()


@kernel
def addends_of(terms: Array, weights: Array, peaks: Array, columns: Array, firsts: Array) -> tuple[Array, Array]:
    """The addend of each code, float32 (n_used, 256), in each of the columns of `terms`, int32 (n_used,).

    The addend of a code is `weight · peak` of its term, and 0 if it is none of `terms`.
    """
    used = np.empty(terms.size, np.int32)
    addends = np.empty((terms.size, NO_CODE + 1), np.float32)
    n_used = 0
    for position in range(terms.size):
        term = terms[position]
        if n_used == 0 or used[n_used - 1] != columns[term]:
            used[n_used] = columns[term]
            addends[n_used] = 0.0
            n_used += 1
        addends[n_used - 1, term - firsts[columns[term]]] = weights[position] * peaks[term]
    return addends[:n_used], used[:n_used]


@kernel
def add_columns(addends: Array, used: Array, columns: Array, firsts: Array, codes: Array, totals: Array) -> Array:
    """Add the columns `used` to the sums of all items, in place; returns the `block_peaks` of the sums."""
    peaks = np.empty((totals.size + BLOCK - 1) // BLOCK, np.int32)
    bits = totals.view(np.int32)
    for first in range(0, totals.size, TOGETHER):
        last = min(first + TOGETHER, totals.size)
        sums = totals[first:last]
        for position in range(used.size):
            column = used[position]
            own, of_items = addends[position], codes[column, first:last]
            beyond = firsts[column] + AT_ONCE - 1
            done = 0
            if beyond >= columns.size or columns[beyond] != column:
                done = sums.size // AT_ONCE * AT_ONCE
                for place in range(0, done, AT_ONCE):
                    add_by_code(sums, place, of_items, own)
            for place in range(done, sums.size):
                sums[place] += own[of_items[place]]
        write_peaks(bits[first:last], peaks[first // BLOCK : (last + BLOCK - 1) // BLOCK])
    return peaks


@kernel
def add_codes(keys: Array, addends: Array, used: Array, codes: Array) -> Array:
    """New keys of the items of `keys`: the addends of their codes in the columns `used` are added to their scores."""
    items, totals = candidates_of(keys)
    every, n_items = codes.reshape(-1), codes.shape[1]
    for place in range(items.size):
        if place + FAR_AHEAD < items.size:
            for column in used:
                prefetch(every, np.int64(column) * n_items + items[place + FAR_AHEAD], LINE)
        item, total = items[place], totals[place]
        for position in range(used.size):
            total += addends[position, codes[used[position], item]]
        totals[place] = total
    return keys_of(items, totals.view(np.int32))


def _add_by_code(typing: Any, sums: Any, place: Any, codes: Any, table: Any) -> Any:
    """Emit `add_by_code`: a permutation of the table in a register, or of its halves, or 16 reads of memory."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def array(number: int) -> Any:
            return context.make_array(signature.args[number])(context, builder, arguments[number]).data

        def vector(address: Any, kind: Any) -> Any:
            return builder.bitcast(address, ir.VectorType(kind, AT_ONCE).as_pointer())

        features = context.codegen().magic_tuple()[2].split(",")
        loaded = builder.load(vector(builder.gep(array(2), [arguments[1]]), BYTE), align=1)
        wide = builder.zext(loaded, ir.VectorType(WORD, AT_ONCE))
        numbers = builder.and_(wide, ir.Constant(wide.type, [AT_ONCE - 1] * AT_ONCE))
        if "+avx512f" in features:
            addends = _permute(builder, "avx512.permvar.sf.512", builder.load(vector(array(3), SINGLE), align=4), wide)
        elif "+avx2" in features:
            addends = _permute_halves(builder, builder.load(vector(array(3), SINGLE), align=4), numbers)
        else:
            addends = ir.Constant(ir.VectorType(SINGLE, AT_ONCE), ir.Undefined)
            for lane in range(AT_ONCE):
                number = builder.extract_element(numbers, WORD(lane))
                addend = builder.load(builder.gep(array(3), [builder.zext(number, ir.IntType(64))]))
                addends = builder.insert_element(addends, addend, WORD(lane))
        target = vector(builder.gep(array(0), [arguments[1]]), SINGLE)
        builder.store(builder.fadd(builder.load(target, align=4), addends), target, align=4)
        return context.get_dummy_value()

    return types.void(sums, types.intp, codes, table), emit


def _permute(builder: Any, name: str, table: Any, numbers: Any) -> Any:
    """The entries of `table` at `numbers`, of which an instruction reads the low bits."""
    kind = ir.FunctionType(table.type, [table.type, numbers.type])
    return builder.call(builder.module.declare_intrinsic(f"llvm.x86.{name}", (), kind), [table, numbers])


def _permute_halves(builder: Any, table: Any, numbers: Any) -> Any:
    """As `_permute`, with registers of 256 bits: each half of the numbers looks into both halves of the table."""
    halves = [ir.Constant(ir.VectorType(WORD, AT_ONCE // 2), [*range(first, first + AT_ONCE // 2)]) for first in (0, 8)]
    low, high = (builder.shuffle_vector(table, table, half) for half in halves)
    found = []
    for half in halves:
        own = builder.shuffle_vector(numbers, numbers, half)
        either = [_permute(builder, "avx2.permps", part, own) for part in (high, low)]
        bound = ir.Constant(own.type, [AT_ONCE // 2] * (AT_ONCE // 2))
        found.append(builder.select(builder.icmp_unsigned(">=", own, bound), *either))
    return builder.shuffle_vector(*found, ir.Constant(ir.VectorType(WORD, AT_ONCE), [*range(AT_ONCE)]))


add_by_code: Any = intrinsic(_add_by_code)
"""`add_by_code(sums, place, codes, table)` in kernels: add, to each of `sums[place : place + 16]`, float32, the addend
`table[code & 15]`, float32, of the code at the same place of `codes`, uint8. All are contiguous."""
