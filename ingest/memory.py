"""Memory: how much of it a load may hold, whatever the size of its input.

Belongs here: what is said to allocators. That nothing reads a file as a whole is the matter of
those who read (``ingest.source_files`` and its neighbours).
"""

from __future__ import annotations

import ctypes
from functools import cache

#: MiB of DuckDB's buffers, to begin with and when a load did not fit; None is DuckDB's own
#: measure, most of what the machine has. What can be spilled is; a wide row group cannot.
DUCKDB_BUFFERS: tuple[int | None, ...] = (136, 320, None)

_OUT_OF_BUFFERS = ("out of memory", "failed to pin block", "could not allocate block")

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_THRESHOLD_BYTES = 1 << 20


def is_out_of_buffers(error: BaseException) -> bool:
    """Tell whether DuckDB, or Arrow on its behalf, says that a memory limit was too low."""
    return any(words in str(error).lower() for words in _OUT_OF_BUFFERS)


@cache
def give_back_at_once() -> None:
    """Have this process give memory back when it is freed; by default pools keep much of it.

    The C library raises its own threshold with every large block that is freed, so that a load
    would end with three times the memory that it holds at any time. Elsewhere than on Linux with
    glibc only Arrow's pool is told.
    """
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _THRESHOLD_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _THRESHOLD_BYTES)
