"""Asking the kernel to begin writing to the device what a file was given so far, without waiting for it.

The flush at the end then finds little left to do. Linux only; elsewhere nothing happens, and the flush takes longer.
"""

import ctypes

_WRITE = 2
"""SYNC_FILE_RANGE_WRITE: begin writing all dirty pages of the range."""

_LIBRARY = ctypes.CDLL(None, use_errno=True)
_CALL = getattr(_LIBRARY, "sync_file_range", None)
if _CALL is not None:
    _CALL.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


def start_writeback(descriptor: int) -> None:
    """Begin writing all of the file. What can't be begun is left to the flush, which reports errors."""
    if _CALL is not None:
        _CALL(descriptor, 0, 0, _WRITE)
