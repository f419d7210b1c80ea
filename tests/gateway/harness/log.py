# SPDX-License-Identifier: Apache-2.0
"""The log of the test that runs now: what was asked of the gateways and what came back."""
import threading
import time

_lock = threading.Lock()
_file = None
_start = 0.0


def open_log(path):
    global _file, _start
    close_log()
    path.parent.mkdir(parents=True, exist_ok=True)
    _file = open(path, "w", encoding="utf-8", errors="replace")
    _start = time.monotonic()


def close_log():
    global _file
    if _file is not None:
        _file.close()
        _file = None


def write(text):
    with _lock:
        if _file is not None and not _file.closed:
            _file.write(f"{time.monotonic() - _start:9.3f} {text.rstrip()}\n")
            _file.flush()
