"""The decorator for compiled hot loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
"""An array whose dtype the kernel's docstring states."""

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile `function` with numba: GIL released, machine code cached on disk where a folder is writable.

    numba refuses to import a cached kernel when neither the source folder nor the user's cache folder can
    be written; such a machine compiles at each start instead.
    """
    return _compiled(function)


def fast_kernel(function: F) -> F:
    """A `kernel` whose sums may be reordered, so that they vectorise; NaN and infinity keep their meaning."""
    return _compiled(function, fastmath={"reassoc", "contract", "nsz", "arcp"})


def _compiled(function: F, **options: Any) -> F:
    try:
        return cast(F, njit(cache=True, nogil=True, **options)(function))
    except RuntimeError:
        return cast(F, njit(nogil=True, **options)(function))
