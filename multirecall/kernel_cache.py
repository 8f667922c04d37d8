"""The cache of compiled kernels on disk, and the check that they still match their source."""

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
"""Environment variable that names the folder that `multirecall warm` fills. The folder may be read-only."""

PLAIN = (bool, int, float, complex, str, bytes, tuple, frozenset, np.generic, np.dtype, type(None))
"""Types whose `repr` tells values apart. numba compiles global values of these types into the code as constants."""


def source_digest(function: Callable[..., Any]) -> str:
    """SHA-256, in hexadecimal, of the byte code of `function`, of all functions it calls and all constants it uses.

    The options of those that numba compiles count as well.
    """
    digest = hashlib.sha256()
    for part in _parts(function, set()):
        digest.update(part)
        digest.update(b"\0")
    return digest.hexdigest()


def _parts(function: Callable[..., Any], seen: set[Any]) -> Iterator[bytes]:
    options: dict[str, Any] = getattr(function, "targetoptions", {})
    function = inspect.unwrap(function)  # numba's own wrappers name the Python function
    if function in seen or not isinstance(function, FunctionType):
        return
    seen.add(function)
    for name, value in sorted(options.items()):
        yield f"{name}={sorted(value) if isinstance(value, set) else value}".encode()
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
    """The code objects of a function and of the functions nested in it."""
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
    """numba's locator for the folder that `FOLDER_VARIABLE` names; files are found by module name, not by file path."""

    def __init__(self, folder: Path, function: FunctionType, file: Path) -> None:
        self._path = folder / function.__module__
        self._file = file
        self._line = function.__code__.co_firstlineno

    @classmethod
    def from_function(cls, py_func: FunctionType, py_file: str) -> Self | None:
        """The locator of a function; None where the variable is not set or the function has no source file."""
        folder = os.environ.get(FOLDER_VARIABLE)
        file = Path(py_file)
        return cls(Path(folder).resolve(), py_func, file) if folder and file.is_file() else None

    def get_cache_path(self) -> str:
        """See numba."""
        return str(self._path)

    def get_source_stamp(self) -> str:
        """See numba. A digest of the file, since copies and container images change the times of files."""
        return hashlib.sha256(self._file.read_bytes()).hexdigest()

    def get_disambiguator(self) -> str:
        """See numba."""
        return str(self._line)


class _Files(CompileResultCacheImpl):
    _locator_classes: list[type[object]] = [KernelFolder, *CompileResultCacheImpl._locator_classes]  # noqa: RUF012 - as in numba


class KernelCache(FunctionCache):
    """numba's cache of a function, with a key that also covers the functions that it calls.

    numba's own cache looks only at the file of the function. It would reuse machine code into which an older callee
    from another file, or an older constant, was compiled. The key also holds numba's version and the CPU.
    """

    _impl_class = _Files

    def __init__(self, dispatcher: Any, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._kernel = dispatcher

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """See numba. An entry that cannot be read is a cache miss: the function is compiled."""
        try:
            return super().load_overload(sig, target_context)
        except OSError:
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """See numba. Where the folder cannot be written, the code stays in memory only."""
        with suppress(OSError):
            super().save_overload(sig, data)

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(sig, codegen), source_digest(self._kernel))

    @property
    def n_usable(self) -> int:
        """The number of cached signatures that this process can load without compiling."""
        machine, source = JITCPUCodegen("multirecall").magic_tuple(), source_digest(self._kernel)
        with suppress(OSError):
            return sum(key[1] == machine and key[-1] == source for key in self._cache_file._load_index())
        return 0


class CacheState(NamedTuple):
    """The state of the kernel cache, over all modules imported so far.

    Attributes:
        numba: the version of numba.
        folder: the folder that `FOLDER_VARIABLE` names; None: beside each module, or in the user's cache folder.
        writable: whether newly compiled kernels can be cached.
        n_kernels: the number of kernels.
        n_kept: the number of kernels that are cached for this CPU and this source.
    """

    numba: str
    folder: Path | None
    writable: bool
    n_kernels: int
    n_kept: int


_caches: list[KernelCache] = []
_uncached: list[str] = []


def attach(dispatcher: Any, function: Callable[..., Any]) -> None:
    """Give a numba function a disk cache; where no folder can be used, each process compiles the function."""
    try:
        dispatcher._cache = KernelCache(dispatcher, function)
    except RuntimeError:
        _uncached.append(function.__qualname__)
    else:
        _caches.append(dispatcher._cache)


def cache_state() -> CacheState:
    """The state of the kernel cache, over all modules imported so far."""
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
    """Whether files can be created in `folder`, which need not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK)
