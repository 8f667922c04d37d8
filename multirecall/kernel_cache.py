"""Where compiled kernels are kept, and what tells that they still are what the source says."""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple, Self

import numba
import numpy as np
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.core.codegen import JITCPUCodegen

FOLDER_VARIABLE = "MULTIRECALL_KERNELS"
"""Environment variable: the folder that `multirecall warm` filled. It may be read-only."""

PLAIN = (bool, int, float, complex, str, bytes, tuple, frozenset, np.generic, np.dtype, type(None))
"""Values whose `repr` tells them apart; as globals they are compiled in."""


def source_digest(function: Callable[..., Any]) -> str:
    """SHA-256, in hexadecimal, of the byte code of `function` and of all that it calls or takes as a constant."""
    digest = hashlib.sha256()
    for part in _parts(function, set()):
        digest.update(part)
        digest.update(b"\0")
    return digest.hexdigest()


def _parts(function: Callable[..., Any], seen: set[Any]) -> Iterator[bytes]:
    function = inspect.unwrap(function)  # numba's own wrappers name the Python function
    if function in seen or not isinstance(function, FunctionType):
        return
    seen.add(function)
    for code in _codes(function.__code__):
        yield code.co_code
        for constant in code.co_consts:
            if not isinstance(constant, CodeType):
                yield repr(constant).encode()
        for name in code.co_names:
            yield name.encode()
            yield from _value_parts(function.__globals__.get(name), seen)
    for cell in function.__closure__ or ():
        yield from _value_parts(cell.cell_contents, seen)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A function's code and that of the functions within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _value_parts(value: Any, seen: set[Any]) -> Iterator[bytes]:
    if isinstance(value, PLAIN):
        yield repr(value).encode()
    elif isinstance(value, np.ndarray):
        yield repr((value.dtype, value.shape)).encode() + value.tobytes()
    elif callable(value):
        yield from _parts(value, seen)


class KernelFolder(_CacheLocator):
    """numba's locator for the folder that `FOLDER_VARIABLE` names; files are found by module, wherever it stands."""

    def __init__(self, folder: Path, function: FunctionType, file: Path) -> None:
        self._path = folder / function.__module__
        self._file = file
        self._line = function.__code__.co_firstlineno

    @classmethod
    def from_function(cls, py_func: FunctionType, py_file: str) -> Self | None:
        """The locator of a function, or None where no folder is named or the function has no source file."""
        folder = os.environ.get(FOLDER_VARIABLE)
        file = Path(py_file)
        return cls(Path(folder).resolve(), py_func, file) if folder and file.is_file() else None

    def get_cache_path(self) -> str:
        """See numba."""
        return str(self._path)

    def get_source_stamp(self) -> str:
        """See numba. A digest, since copying and images change the times of files."""
        return hashlib.sha256(self._file.read_bytes()).hexdigest()

    def get_disambiguator(self) -> str:
        """See numba."""
        return str(self._line)


class _Files(CompileResultCacheImpl):
    _locator_classes: list[type[object]] = [KernelFolder, *CompileResultCacheImpl._locator_classes]  # noqa: RUF012 - as in numba


class KernelCache(FunctionCache):
    """numba's cache of a function, which also notices changes in what the function calls.

    numba's own looks at the function's file alone, and so would go on with machine code into which an older callee of
    another file, or an older constant, was compiled. Its key holds numba's version and the CPU.
    """

    _impl_class = _Files

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """See numba. What cannot be read is compiled."""
        try:
            return super().load_overload(sig, target_context)
        except OSError:
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """See numba. Where the folder cannot be written, the code stays in memory."""
        with suppress(OSError):
            super().save_overload(sig, data)

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(sig, codegen), source_digest(self._py_func))

    @property
    def n_usable(self) -> int:
        """How many signatures are kept that this process would load as they are."""
        machine, source = JITCPUCodegen("multirecall").magic_tuple(), source_digest(self._py_func)
        with suppress(OSError):
            return sum(key[1] == machine and key[-1] == source for key in self._cache_file._load_index())
        return 0


class CacheState(NamedTuple):
    """How the compiled kernels of all modules imported so far are kept.

    Attributes:
        numba: its version.
        folder: the folder that `FOLDER_VARIABLE` names; None: beside each module, or in the user's cache folder.
        writable: whether kernels that are compiled from now on are kept.
        n_kernels: how many kernels there are.
        n_kept: how many of them are kept compiled for this CPU and this source.
    """

    numba: str
    folder: Path | None
    writable: bool
    n_kernels: int
    n_kept: int


_caches: list[KernelCache] = []
_uncached: list[str] = []


def attach(dispatcher: Any, function: Callable[..., Any]) -> None:
    """Let a numba function be kept on disk where any folder serves; else it is compiled in each process."""
    try:
        dispatcher._cache = KernelCache(function)
    except RuntimeError:
        _uncached.append(function.__qualname__)
    else:
        _caches.append(dispatcher._cache)


def cache_state() -> CacheState:
    """How the kernels imported so far are kept."""
    folder = os.environ.get(FOLDER_VARIABLE)
    kept = [cache for cache in _caches if cache.n_usable]
    paths = {Path(cache.cache_path) for cache in _caches}
    return CacheState(
        numba.__version__,
        Path(folder).resolve() if folder else None,
        bool(paths) and all(_is_writable(path) for path in paths),
        len(_caches) + len(_uncached),
        len(kept),
    )


def _is_writable(folder: Path) -> bool:
    """Whether files can be made in `folder`, which need not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK)
