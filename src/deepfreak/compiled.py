"""`njit` with a cache of machine code that is never older than the source.

numba's own cache checks only the file of the called function: after an edit of another file, from
which functions or constants are compiled in, it uses the old machine code (numba issue 1833). Here
the key is a hash of all that is compiled: the byte code of the function and of each function that
it calls, the values of constants, the options, the versions, the processor. Other code has another
key, so nothing has to be invalidated.
"""

# ruff: noqa: ANN401 -- numba's objects have no types

from __future__ import annotations

import contextlib
import enum
import functools
import hashlib
import multiprocessing
import os
import pickle  # as numba's own cache does; nothing is read before its checksum is right
import socket
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import numba
import numpy as np
from numba.core.caching import CompileResultCacheImpl
from numba.core.dispatcher import Dispatcher
from numba.core.serialize import dumps

from deepfreak.storage.cache import KeyedCache
from deepfreak.storage.files import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

F = TypeVar("F", bound="Callable[..., Any]")

# Set once a process has reported that it compiles, for the processes that it starts.
SAID = "DEEPFREAK_COMPILING_SAID"
_SUFFIX = ".machine-code"
_DAYS_UNUSED = 30
_claims: list[socket.socket] = []


class _UnknownError(Exception):
    """A function uses a value that cannot be hashed."""


def njit(*, cache: bool = False, **options: Any) -> Callable[[F], F]:
    """Return a decorator as `numba.njit`; with `cache`, machine code is cached by its key."""

    def decorate(function: F) -> F:
        dispatcher = numba.njit(**options)(function)
        if cache and isinstance(dispatcher, Dispatcher):
            # numba has no public way to install another cache (docs/decisions/0018)
            dispatcher._cache = _Kept(dispatcher)  # type: ignore[attr-defined] # noqa: SLF001
        return dispatcher  # type: ignore[no-any-return]

    return decorate


def folder() -> Path | None:
    """Return $NUMBA_CACHE_DIR/deepfreak, or `compiled` in the cache directory, or None."""
    chosen = numba.config.CACHE_DIR
    if chosen:
        return Path(chosen) / "deepfreak"
    ours = cache_folder()
    return None if ours is None else ours / "compiled"


def _cache() -> KeyedCache:
    return KeyedCache(folder(), _SUFFIX, max_days_unused=_DAYS_UNUSED)


class _Kept:
    """The cached machine code of one function, with the interface that numba expects."""

    def __init__(self, dispatcher: Any) -> None:
        self._dispatcher = dispatcher
        self._content: bytes | None = None
        self._enabled = True

    @property
    def cache_path(self) -> str | None:
        place = folder()
        return None if place is None else str(place)

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def flush(self) -> None:
        """Do nothing: other code has another key."""

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Return the result of compiling for `signature`, None if it is not cached."""
        target_context.refresh()
        cache = _cache()
        key = self._key(signature, target_context.codegen())
        content = None if key is None else cache.load(key)
        # numba's `rebuild` trusts its bytes; what it may raise is not documented
        with contextlib.suppress(Exception):
            if content is not None:
                return _Parts().rebuild(target_context, pickle.loads(content))  # noqa: S301
        _say_once(None if key is None else cache.folder)
        return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Store the result of compiling, if possible."""
        key = self._key(signature, compiled.codegen)
        if key is None or compiled.lifted or compiled.library.has_dynamic_globals:
            return
        with contextlib.suppress(Exception):
            _cache().store(key, dumps(_Parts().reduce(compiled)))

    def _key(self, signature: Any, codegen: Any) -> str | None:
        if not self._enabled:
            return None
        if self._content is None:
            # not before the first call: names may be defined below the function
            self._content = content_hash(self._dispatcher)
        if not self._content:
            return None
        asked = repr((signature, _field_names(signature), codegen.magic_tuple()))
        if " at 0x" in asked:  # an address does not identify its content
            return None
        name = hashlib.sha256(self._content + asked.encode())
        function = self._dispatcher.py_func
        return f"{function.__module__}.{function.__name__}-{name.hexdigest()[:32]}"


def _field_names(signature: Any) -> list[tuple[str, ...]]:
    """Return the fields of each named tuple in a signature, whose text names its class only."""
    found, pending = [], list(signature)
    while pending:
        kind = pending.pop()
        if isinstance(kind, numba.types.BaseTuple):
            pending += list(kind.types)
            found.append(getattr(kind, "fields", ()))
    return found


class _Parts(CompileResultCacheImpl):  # type: ignore[misc]
    """numba's serialisation of its results, without its file locations."""

    def __init__(self) -> None:
        pass


def content_hash(dispatcher: Any) -> bytes:
    """Return a hash of all that is compiled for a function, b"" if it uses an unknown value.

    It is the hash of what was imported, not of the files: those may have been edited since.
    """
    found = hashlib.sha256(_surroundings())
    try:
        for part in _parts_of(dispatcher, {}):
            found.update(f"{len(part)}:{part}".encode())
    except _UnknownError:
        return b""
    return found.digest()


@functools.cache
def _surroundings() -> bytes:
    """Return versions and settings that change the machine code."""
    versions = (sys.version, *map(version, ("numba", "llvmlite", "numpy")))
    settings = (numba.config.OPT, numba.config.BOUNDSCHECK, numba.config.LOOP_VECTORIZE)
    return repr((versions, settings)).encode()


def _parts_of(value: Any, seen: dict[int, int]) -> Iterator[str]:
    """Yield texts that are equal only for values that give the same machine code."""
    if id(value) in seen:
        yield f"number {seen[id(value)]}"
    elif (
        value is None
        or value is ...
        or isinstance(value, bool | int | float | complex | str | bytes)
    ):
        yield f"{type(value).__qualname__} {value!r}"
    elif isinstance(value, np.ndarray | np.generic):
        yield f"{value.dtype.descr} {np.shape(value)} {np.ascontiguousarray(value).tobytes().hex()}"
    elif isinstance(value, tuple | frozenset):
        inner = [list(_parts_of(each, seen)) for each in value]
        for each in sorted(inner) if isinstance(value, frozenset) else inner:
            yield f"{type(value).__qualname__} {each}"
    elif isinstance(value, Dispatcher):
        yield repr(sorted((name, repr(chosen)) for name, chosen in value.targetoptions.items()))
        yield from _parts_of(value.py_func, seen)
    elif isinstance(value, FunctionType):
        seen[id(value)] = len(seen)
        yield value.__qualname__
        yield from _parts_of(value.__defaults__, seen)
        for cell in value.__closure__ or ():
            yield from _parts_of(cell.cell_contents, seen)
        yield from _code_parts(value.__code__, value.__globals__, seen)
    elif isinstance(value, type | BuiltinFunctionType | np.ufunc | np.dtype | ModuleType):
        yield from _named_parts(value)
    else:
        raise _UnknownError(repr(value))


def _code_parts(code: CodeType, known: dict[str, Any], seen: dict[int, int]) -> Iterator[str]:
    """Yield the byte code of a function, its constants, and the values of its names."""
    yield f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {code.co_freevars}"
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code_parts(constant, known, seen)
        else:
            yield from _parts_of(constant, seen)
    for name in code.co_names:
        if name in known:
            yield name
            yield from _parts_of(known[name], seen)


def _named_parts(value: Any) -> Iterator[str]:
    """Yield what identifies a class, function or module.

    For those of Python, numpy and numba the name is enough, because the versions are hashed too.
    Ours change without a version: an enumeration is identified by its members, a named tuple by its
    fields.
    """
    if isinstance(value, ModuleType):
        name = value.__name__
    elif isinstance(value, np.dtype):
        name = repr(value.descr)
    else:
        name = f"{getattr(value, '__module__', '')}.{value.__name__}"
    if isinstance(value, type) and issubclass(value, enum.Enum):
        yield repr([(member.name, member.value) for member in value])
    elif isinstance(value, type) and issubclass(value, tuple) and hasattr(value, "_fields"):
        yield repr((value._fields, getattr(value, "_field_defaults", {})))
    elif name.startswith("deepfreak"):
        raise _UnknownError(name)
    yield name


def _say_once(place: Path | None) -> None:
    """Report on stderr, once for all worker processes, that compiling takes a while."""
    if SAID in os.environ:
        return
    os.environ[SAID] = "1"
    if _another_worker_says_it():
        return
    kept = place is not None and _may_write(place)
    how = "once" if kept else "at every start: no directory is writable (set DEEPFREAK_CACHE)"
    with contextlib.suppress(OSError, ValueError):  # closed, or its disk is full
        sys.stderr.write(f"deepfreak: compiling for this processor, {how}; up to a minute\n")


def _another_worker_says_it() -> bool:
    """Return whether another worker of the same parent has reported that it compiles.

    The first to bind a name in Linux's abstract socket namespace reports; the name needs no
    directory and disappears with the process.
    """
    parent = multiprocessing.parent_process()
    if parent is None or sys.platform != "linux":
        return False
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0deepfreak compiles for {parent.pid}")
    except OSError:
        claim.close()
        return True
    _claims.append(claim)
    return False


def _may_write(place: Path) -> bool:
    """Return whether a file can be written to a directory, which is created if missing."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(bytes(100_000))  # a full disk may still have room for a name
    except OSError:
        return False
    return True
