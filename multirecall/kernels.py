"""The decorator for compiled hot loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from multirecall.kernel_cache import attach

Array = NDArray[Any]
"""An array whose dtype the kernel's docstring states."""

LINE = 64
"""Bytes of a cache line of the processors in common use."""

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile `function` with numba: GIL released, machine code kept on disk where a folder serves."""
    return _compiled(function)


def fast_kernel(function: F) -> F:
    """A `kernel` whose sums may be reordered, so that they vectorise; NaN and infinity keep their meaning."""
    return _compiled(function, fastmath={"reassoc", "contract", "nsz", "arcp"})


def _compiled(function: F, **options: Any) -> F:
    dispatcher = njit(nogil=True, **options)(function)
    attach(dispatcher, function)
    return cast(F, dispatcher)


def _line_fetched(typing: Any, array: Any, place: Any) -> Any:
    """LLVM's prefetch instruction for the cache line of `array[place]`: it will be read, and is to be kept."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        flag = ir.IntType(32)
        emitted = ir.FunctionType(ir.VoidType(), [address.type, flag, flag, flag])
        function = builder.module.declare_intrinsic("llvm.prefetch", [address.type], emitted)
        builder.call(function, [address, flag(0), flag(3), flag(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), emit


_fetch_line: Any = intrinsic(_line_fetched)


@kernel
def prefetch(array: Array, start: int, n_bytes: int) -> None:
    """Ask for `array[start:]`, one-dimensional and contiguous, ahead of its use; nothing waits for it.

    A place beyond the array is allowed: it is a hint to the processor and never fails. Speed only.
    """
    for line in range(n_bytes // LINE):
        _fetch_line(array, start + line * (LINE // array.itemsize))
