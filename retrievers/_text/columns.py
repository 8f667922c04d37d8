"""Columns of codes: what the code of an item adds to its sum, for all items in order or for some of them.

A column has the codes, uint8, of 64 items in a line of 64 bytes. The four bytes of a word have those of the items
`lane`, `lane + 16`, `lane + 32` and `lane + 48` of the line, where `lane` is the place of the word: so the codes of 16
items are a shift away from being the 16 numbers by which one instruction looks up a table.
"""

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
"""Codes that are looked up at once, in a table of as many addends: 16 float32 are a register of 512 bits."""

TOGETHER = 1_024
"""Items in a block to which all columns add: the sums, 4 KiB, stay in the first-level cache. A multiple of 64."""

FAR_AHEAD = 16
"""Items whose codes are prefetched before their use."""

WORD, LONG, SINGLE = ir.IntType(32), ir.IntType(64), ir.FloatType()


@kernel
def length_of(n_items: int) -> int:
    """The length of a column for `n_items` items: whole lines."""
    return (n_items + LINE - 1) // LINE * LINE


@kernel
def place_of(item: int) -> int:
    """The place of an item's code in a column."""
    return (item & -LINE) | ((item & (AT_ONCE - 1)) << 2) | ((item & (LINE - 1)) // AT_ONCE)


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
            own, of_items = addends[position], codes[column, first : first + TOGETHER]
            beyond = firsts[column] + AT_ONCE - 1
            done = 0
            if beyond >= columns.size or columns[beyond] != column:
                done = sums.size // LINE * LINE
                for place in range(0, done, LINE):
                    add_line(sums, place, of_items, own)
            for place in range(done, sums.size):
                sums[place] += own[of_items[place_of(place)]]
        write_peaks(bits[first:last], peaks[first // BLOCK : (last + BLOCK - 1) // BLOCK])
    return peaks


@kernel
def add_codes(keys: Array, addends: Array, used: Array, codes: Array) -> Array:
    """New keys of the items of `keys`: the addends of their codes in the columns `used` are added to their scores."""
    items, totals = candidates_of(keys)
    every, length = codes.reshape(-1), codes.shape[1]
    for place in range(items.size):
        if place + FAR_AHEAD < items.size:
            for column in used:
                prefetch(every, np.int64(column) * length + items[place + FAR_AHEAD], LINE)
        own, total = place_of(items[place]), totals[place]
        for position in range(used.size):
            total += addends[position, codes[used[position], own]]
        totals[place] = total
    return keys_of(items, totals.view(np.int32))


def _add_line(typing: Any, sums: Any, place: Any, codes: Any, table: Any) -> Any:
    """Emit `add_line`: four times a permutation of the table in a register, or of its halves, or reads of memory."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def at(number: int, place: Any, kind: Any) -> Any:
            data = context.make_array(signature.args[number])(context, builder, arguments[number]).data
            return builder.bitcast(builder.gep(data, [place]), ir.VectorType(kind, AT_ONCE).as_pointer())

        features = context.codegen().magic_tuple()[2].split(",")
        look_up = _permute if "+avx512f" in features else _permute_halves if "+avx2" in features else _read_each
        words = builder.load(at(2, arguments[1], WORD), align=1)
        addends = builder.load(at(3, LONG(0), SINGLE), align=4)
        for part in range(LINE // AT_ONCE):
            target = at(0, builder.add(arguments[1], LONG(part * AT_ONCE)), SINGLE)
            found = look_up(builder, addends, builder.lshr(words, _all(words, 8 * part)))
            builder.store(builder.fadd(builder.load(target, align=4), found), target, align=4)
        return context.get_dummy_value()

    return types.void(sums, types.intp, codes, table), emit


def _all(like: Any, value: int) -> Any:
    return ir.Constant(like.type, [value] * like.type.count)


def _permute(builder: Any, table: Any, numbers: Any) -> Any:
    """The entries of `table` at the low four bits of `numbers`, the only ones that the instruction reads."""
    kind = ir.FunctionType(table.type, [table.type, numbers.type])
    permute = builder.module.declare_intrinsic("llvm.x86.avx512.permvar.sf.512", (), kind)
    return builder.call(permute, [table, numbers])


def _permute_halves(builder: Any, table: Any, numbers: Any) -> Any:
    """As `_permute`, with registers of 256 bits: each half of the numbers looks into both halves of the table."""
    size = AT_ONCE // 2
    halves = [ir.Constant(ir.VectorType(WORD, size), [*range(first, first + size)]) for first in (0, size)]
    parts = [builder.shuffle_vector(table, table, half) for half in halves]
    kind = ir.FunctionType(parts[0].type, [parts[0].type, ir.VectorType(WORD, size)])
    permute = builder.module.declare_intrinsic("llvm.x86.avx2.permps", (), kind)
    found = []
    for half in halves:
        own = builder.shuffle_vector(numbers, numbers, half)
        low, high = (builder.call(permute, [part, own]) for part in parts)
        is_high = builder.icmp_unsigned("!=", builder.and_(own, _all(own, size)), _all(own, 0))
        found.append(builder.select(is_high, high, low))
    return builder.shuffle_vector(*found, ir.Constant(ir.VectorType(WORD, AT_ONCE), [*range(AT_ONCE)]))


def _read_each(builder: Any, table: Any, numbers: Any) -> Any:
    """As `_permute`, one by one, from memory."""
    memory = builder.alloca(table.type)
    builder.store(table, memory)
    entries = builder.bitcast(memory, SINGLE.as_pointer())
    found = ir.Constant(table.type, ir.Undefined)
    for lane in range(AT_ONCE):
        number = builder.and_(builder.extract_element(numbers, WORD(lane)), WORD(AT_ONCE - 1))
        entry = builder.load(builder.gep(entries, [builder.zext(number, LONG)]))
        found = builder.insert_element(found, entry, WORD(lane))
    return found


add_line: Any = intrinsic(_add_line)
"""`add_line(sums, place, codes, table)` in kernels: add, to each of `sums[place : place + 64]`, float32, the addend
`table[code & 15]`, float32, of the item's code in the line of `codes`, uint8, that begins at `place`."""
