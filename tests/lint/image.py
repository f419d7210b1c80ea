# SPDX-License-Identifier: Apache-2.0
"""What the linked release may hold: no heap that can grow, no shared library, no fat.

A static program that reaches the C library's malloc holds its symbols and those of its helpers.
Ours may be there: they serve a fixed arena. Whose they are is told by their debugging information,
which the C library's objects lack.
"""
import os
import re
import subprocess
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BINARY = TOP / "build/aarch64/godwit"
BYTES_MAX = 512 * 1024
# musl's allocators (old and mallocng), and what they alone use to grow.
LIBC_HEAP = re.compile(
    r"^(__simple_malloc|__malloc_lock|__bump_lockptr|__expand_heap|__malloc_replaced_.*|"
    r"__malloc_alloc_meta|__malloc_context|__malloc_size_classes|__malloc_donate|"
    r"__malloc_allzerop|__bin_chunk|__libc_malloc_impl|enframe|alloc_slot|try_avail|brk|sbrk|__brk)$")
FAMILY = {"malloc", "calloc", "realloc", "free", "aligned_alloc", "__libc_malloc", "__libc_calloc",
          "__libc_realloc", "__libc_free"}
ARENA_SOURCE = "src/base/arena.c"


def tool(name):
    return name if os.uname().machine == "aarch64" else f"aarch64-linux-gnu-{name}"


def symbols(binary):
    """Defined symbols: {name: address}."""
    done = subprocess.run([tool("nm"), "--defined-only", "--format=posix", binary],
                          check=True, capture_output=True, text=True)
    lines = [line.split() for line in done.stdout.split("\n") if line]
    return {words[0]: words[2] for words in lines if len(words) > 2}


def source_of(binary, address):
    done = subprocess.run([tool("addr2line"), "-e", binary, address],
                          check=True, capture_output=True, text=True)
    return done.stdout.split(":")[0]


def heap_problems(binary):
    found = symbols(binary)
    lines = [f"{binary}: {name} is linked: a heap that can grow" for name in found
             if LIBC_HEAP.match(name)]
    for name in sorted(FAMILY & set(found)):
        source = source_of(binary, found[name])
        if not source.endswith(ARENA_SOURCE):
            lines.append(f"{binary}: {name} is linked and not the arena's (it is from {source})")
    return lines


def static_problems(binary):
    done = subprocess.run([tool("readelf"), "--wide", "--program-headers", "--dynamic", binary],
                          check=True, capture_output=True, text=True)
    return [f"{binary}: not static: {line.strip()}" for line in done.stdout.split("\n")
            if "INTERP" in line or "(NEEDED)" in line]


def stripped_bytes(binary):
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "stripped"
        subprocess.run([tool("strip"), "--strip-all", "-o", copy, binary], check=True)
        return copy.stat().st_size


def compile_probe(folder, source):
    program = Path(folder) / "probe"
    (Path(folder) / "probe.c").write_text(source)
    subprocess.run(["aarch64-linux-musl-gcc", "-static", "-Os", "-o", program,
                    Path(folder) / "probe.c"], check=True)
    return program


def absent():
    return "fail", [f"{BINARY} is not built"]


def check_no_growing_heap():
    if not BINARY.exists():
        return absent()
    lines = heap_problems(BINARY)
    return ("fail" if lines else "pass"), lines


def check_static():
    if not BINARY.exists():
        return absent()
    lines = static_problems(BINARY)
    return ("fail" if lines else "pass"), lines


def check_size():
    if not BINARY.exists():
        return absent()
    size = stripped_bytes(BINARY)
    line = f"{BINARY}: {size} bytes stripped, at most {BYTES_MAX} wanted"
    return ("fail" if size > BYTES_MAX else "pass"), [line]


def check_the_check_can_fail():
    """A program with a real malloc, and one that reaches it by way of the C library, are found."""
    probes = {
        "malloc": "#include <stdlib.h>\nint main(int c, char **v)"
                  "{ return malloc((unsigned)c) == (void *)v; }",
        "fopen": "#include <stdio.h>\nint main(void) { return fopen(\"/x\", \"r\") != 0; }",
        "atexit": "#include <stdlib.h>\nstatic void f(void) { }\n"
                  "int main(void) { for (int i = 0; i < 99; i++) atexit(f); return 0; }",
    }
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for name, source in probes.items():
            if not heap_problems(compile_probe(folder, source)):
                lines.append(f"a program that uses {name} was not found out")
        clean = "#include <stdio.h>\nint main(void) { printf(\"%d\", 1); return 0; }"
        lines += heap_problems(compile_probe(folder, clean))
    return ("fail" if lines else "pass"), lines


ALL = [check_no_growing_heap, check_static, check_size, check_the_check_can_fail]
