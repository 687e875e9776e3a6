"""Memory: how much of it a load may hold, whatever the size of its input.

Belongs here: what is said to allocators. DuckDB's own buffers have no limit but DuckDB's: a commit
that does not fit into a lower one fails, and what is committed after that through the same instance
can be wrong (seen in 1.5). That nothing reads a file as a whole is the matter of those who read
(``ingest.source_files`` and its neighbours).
"""

from __future__ import annotations

import ctypes
from functools import cache

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_THRESHOLD_BYTES = 1 << 20


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
