"""The decorators for compiled hot loops, a prefetch and an inner product for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from multirecall.kernel_cache import attach

Array = NDArray[Any]
"""A numpy array; the docstring of the kernel states its dtype."""

LANES = 8
"""Numbers that `lanes_at_least` compares at once: 8 of 32 bits are a vector register of 256 bits."""

LINE = 64
"""Bytes of a cache line, as on x86-64 and most ARM servers. A wrong value costs speed only."""

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile `function` with numba: the GIL is released, the machine code is cached on disk (see `KernelCache`)."""
    return _compile(function)


def fast_kernel(function: F) -> F:
    """A `kernel` whose sums may be reordered, so that they vectorise; NaN and infinity keep their meaning.

    A division by 0 gives infinity or NaN, as in numpy: a check would keep loops from being vectorised.
    """
    return _compile(function, fastmath={"reassoc", "contract", "nsz", "arcp"}, error_model="numpy")


def _compile(function: F, **options: Any) -> F:
    dispatcher = njit(nogil=True, **options)(function)
    dispatcher.get_call_template = partial(_template_for, dispatcher.get_call_template)
    attach(dispatcher, function)
    return cast(F, dispatcher)


def _template_for(template: Callable[..., Any], arguments: Sequence[Any], names: Mapping[str, Any]) -> Any:
    """What numba calls of a kernel for another: for the types of arguments, since it compiles anew for each literal."""
    unliteral: Callable[[Any], Any] = types.unliteral
    return template([unliteral(one) for one in arguments], {name: unliteral(one) for name, one in names.items()})


def _prefetch_line(typing: Any, array: Any, place: Any) -> Any:
    """Emit LLVM's prefetch instruction, for reading, into all cache levels, for the cache line of `array[place]`."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        flag = ir.IntType(32)
        emitted = ir.FunctionType(ir.VoidType(), [address.type, flag, flag, flag])
        function = builder.module.declare_intrinsic("llvm.prefetch", [address.type], emitted)
        builder.call(function, [address, flag(0), flag(3), flag(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), emit


_fetch_line: Any = intrinsic(_prefetch_line)


@kernel
def prefetch(array: Array, start: int, n_bytes: int) -> None:
    """Ask the processor to load `n_bytes` of `array[start:]`, one-dimensional and contiguous, into its cache.

    The call does not wait and never fails, not even for a position beyond the array. It changes speed only.
    """
    for line in range(n_bytes // LINE):
        _fetch_line(array, start + line * (LINE // array.itemsize))


def _lanes_at_least(typing: Any, values: Any, start: Any, least: Any) -> Any:
    """Emit a comparison of vectors, which LLVM splits where registers are shorter."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word, lanes = ir.IntType(32), ir.VectorType(ir.IntType(32), LANES)
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), lanes.as_pointer())
        single = builder.insert_element(ir.Constant(lanes, ir.Undefined), arguments[2], ir.Constant(word, 0))
        bound = builder.shuffle_vector(single, single, ir.Constant(lanes, [0] * LANES))
        reach = builder.icmp_signed(">=", builder.load(address, align=4), bound)
        return builder.zext(builder.bitcast(reach, ir.IntType(LANES)), ir.IntType(64))

    return types.int64(values, types.intp, types.int32), emit


lanes_at_least: Any = intrinsic(_lanes_at_least)
"""`lanes_at_least(values, start, least)` in kernels: which of `values[start : start + LANES]`, int32 and contiguous,
are at least `least`, as the lowest bits of an int64."""


def _first_place(typing: Any, bits: Any) -> Any:
    """Emit the count of trailing zeros."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), emit


first_place: Any = intrinsic(_first_place)
"""`first_place(bits)` in kernels: the place of the lowest bit that is set in an int64 other than 0."""


@fast_kernel
def dot(left: Array, right: Array) -> Any:
    """The inner product of two float32 vectors of equal length, as a float32."""
    total = np.float32(0.0)
    for entry in range(left.size):
        total += left[entry] * right[entry]
    return total
