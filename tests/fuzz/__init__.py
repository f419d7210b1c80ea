# SPDX-License-Identifier: Apache-2.0
"""Fuzzers: libFuzzer's programs (fuzz.h), each with the sources that it is about.

They are built by clang from the sources themselves, since all of what they link must be
instrumented. What crashes one is kept beside it, and one command replays it.
"""
import os
import platform
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BUILD = TOP / "build/fuzz"
SECONDS_ALL = 600
PURE = ["src/base/crc32c.c", "src/base/digest.c", "src/base/status.c", "src/base/units.c",
        *sorted(str(path.relative_to(TOP)) for path in (TOP / "src/wire").glob("*.c"))]
TRANSPORT = ["src/base/blocks.c", "src/host/clock.c", "src/host/kernel.c", "src/host/loop.c",
             "src/host/unix_socket.c",
             *sorted(str(path.relative_to(TOP)) for path in (TOP / "src/transport").glob("*.c"))]
# name: (its sources beside tests/fuzz/NAME.c, the longest input, seconds without --all). The one that
# takes longest to build comes first: two run at once.
PROGRAMS = {
    "tls": (PURE + TRANSPORT, 2000, 60),
    "batch": (PURE, 70000, 60),
    "frame": (PURE, 64, 60),
    "message": (PURE, 8192, 20),  # what a frame carries: small, and soon seen
}
FLAGS = ["-g", "-O1", "-std=gnu11", "-D_GNU_SOURCE", "-fno-omit-frame-pointer",
         "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all",
         "-Iinclude", "-Isrc", "-Iboard/qemu-virt", "-Itests/fuzz"]
# lz4 reads words at any address on purpose, where the CPU can.
LZ4_FLAGS = re.findall("'(-D[^']+)'", (TOP / "subprojects/packagefiles/lz4/meson.build").read_text())
# Instrumented, and fast: a handshake is most of what the fuzzer of TLS does.
MBEDTLS = TOP / "subprojects/mbedtls-3.6.6"
MBEDTLS_FLAGS = ['-DMBEDTLS_CONFIG_FILE="godwit_config.h"', "-isystem", MBEDTLS / "include", "-isystem", MBEDTLS]
MBEDTLS_BUILD = ["-g", "-O2", "-w", "-fsanitize=fuzzer-no-link,address", f"-I{MBEDTLS}/library"]
AESNI_FLAGS = ["-maes", "-mpclmul", "-msse4.1"]


def build_mbedtls():
    """Its objects, made once for our configuration."""
    ours = max(path.stat().st_mtime for path in (TOP / "subprojects/packagefiles/mbedtls").iterdir())

    def compile_one(source):
        object_file = BUILD / f"mbedtls-{source.stem}.o"
        if not object_file.exists() or object_file.stat().st_mtime < ours:
            own = AESNI_FLAGS if source.stem == "aesni" and platform.machine() == "x86_64" else []
            subprocess.run(["clang", *MBEDTLS_BUILD, *own, *MBEDTLS_FLAGS, "-c", source, "-o", object_file],
                           cwd=TOP, check=True)
        return object_file

    listed = (TOP / "subprojects/packagefiles/mbedtls/meson.build").read_text()
    sources = [MBEDTLS / name for name in sorted(set(re.findall(r"library/[a-z0-9_]+\.c", listed)))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compile_one, sources))


class Fuzzer:
    def __init__(self, name):
        self.name = name
        self.sources, self.max_len, self.seconds = PROGRAMS[name]
        self.program = BUILD / f"fuzz-{name}"
        self.crash = None

    def build(self):
        lz4 = TOP / "subprojects/lz4-1.10.0/lib"
        BUILD.mkdir(parents=True, exist_ok=True)
        objects = build_mbedtls() if self.name == "tls" else []
        subprocess.run(["clang", *FLAGS, *LZ4_FLAGS, f"-I{lz4}", *MBEDTLS_FLAGS, f"tests/fuzz/{self.name}.c",
                        "tests/fuzz/seed.c", *self.sources, lz4 / "lz4.c", *objects, "-lpthread",
                        "-o", self.program],
                       cwd=TOP, check=True)

    def command(self):
        """With a fresh corpus of what the encoders make, and the environment that makes it."""
        corpus = BUILD / f"corpus-{self.name}"
        shutil.rmtree(corpus, ignore_errors=True)
        corpus.mkdir(parents=True)
        for old in BUILD.glob(f"crash-{self.name}-*"):
            old.unlink()
        return ([self.program, f"-max_total_time={self.seconds}", f"-max_len={self.max_len}",
                 "-timeout=30", "-detect_leaks=0", "-print_final_stats=1",
                 f"-artifact_prefix={BUILD}/crash-{self.name}-", corpus],
                {"GW_FUZZ_SEEDS": str(corpus)})

    def replay(self):
        """The one command that runs again what went wrong."""
        crashes = sorted(BUILD.glob(f"crash-{self.name}-*"))
        return f"{os.path.relpath(self.program, TOP)} {os.path.relpath(crashes[0], TOP)}" \
            if crashes else f"tools/test fuzz -k {self.name}"
