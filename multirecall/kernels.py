"""The decorators for compiled hot loops, a prefetch and an inner product for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from multirecall.kernel_cache import attach

Array = NDArray[Any]
"""A numpy array; the docstring of the kernel states its dtype."""

LINE = 64
"""Bytes of a cache line, as on x86-64 and most ARM servers. A wrong value costs speed only."""

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile `function` with numba: the GIL is released, the machine code is cached on disk (see `KernelCache`)."""
    return _compile(function)


def fast_kernel(function: F) -> F:
    """A `kernel` whose sums may be reordered, so that they vectorise; NaN and infinity keep their meaning."""
    return _compile(function, fastmath={"reassoc", "contract", "nsz", "arcp"})


def _compile(function: F, **options: Any) -> F:
    dispatcher = njit(nogil=True, **options)(function)
    attach(dispatcher, function)
    return cast(F, dispatcher)


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


@fast_kernel
def dot(left: Array, right: Array) -> Any:
    """The inner product of two float32 vectors of equal length, as a float32."""
    total = np.float32(0.0)
    for entry in range(left.size):
        total += left[entry] * right[entry]
    return total
