# SPDX-License-Identifier: Apache-2.0
"""Fuzzers: libFuzzer's programs (fuzz.h), each with the sources that it is about.

They are built by clang from the sources themselves, since all of what they link must be
instrumented. What crashes one is kept beside it, and one command replays it.
"""
import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

TOP = Path(__file__).resolve().parents[2]
BUILD = TOP / "build/fuzz"
SECONDS_ALL = 600
PURE = ["src/base/crc32c.c", "src/base/digest.c", "src/base/status.c", "src/base/units.c",
        *sorted(str(path.relative_to(TOP)) for path in (TOP / "src/wire").glob("*.c"))]
TRANSPORT = ["src/base/blocks.c", "src/host/clock.c", "src/host/kernel.c", "src/host/loop.c",
             "src/host/named_file.c", "src/host/parcel.c", "src/host/unix_socket.c",
             *sorted(str(path.relative_to(TOP)) for path in (TOP / "src/transport").glob("*.c"))]
PLACE = [f"src/migrate/{name}.c" for name in
         ("assembly", "blocktime", "pages", "pages_window", "record", "target", "target_faults", "target_place",
          "target_steps", "target_view")]
STATE = ["src/device/state.c", "src/device/pl011.c", "src/device/pl031.c", "src/vm/plan.c"]
# name: (its sources beside tests/fuzz/NAME.c and PURE, the longest input, seconds without --all). The
# one that takes longest to build comes first: two run at once.
PROGRAMS = {
    "tls": (TRANSPORT, 2000, 60),
    "x509": (TRANSPORT, 6000, 20),
    "batch": ([], 70000, 60),
    "frame": ([], 64, 60),
    "message": ([], 8300, 20),
    "place": (PLACE, 512, 10),
    "state": (STATE, 2048, 10),
}
FLAGS = ["-g", "-O1", "-std=gnu11", "-D_GNU_SOURCE", "-fno-omit-frame-pointer",
         "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all",
         "-Iinclude", "-Isrc", "-Iboard/qemu-virt", "-Itests/fuzz"]

def unpacked(library):
    """Where meson unpacks it: the folder has its version in its name."""
    wrap = (TOP / f"subprojects/{library}.wrap").read_text()
    return TOP / "subprojects" / re.search(r"^directory *= *(\S+)", wrap, re.M).group(1)


# lz4 reads words at any address on purpose, where the CPU can.
LZ4 = unpacked("lz4")
LZ4_FLAGS = [*re.findall("'(-D[^']+)'", (TOP / "subprojects/packagefiles/lz4/meson.build").read_text()),
             f"-I{LZ4}/lib"]
# Instrumented, and fast: a handshake is most of what the fuzzer of TLS does.
MBEDTLS = unpacked("mbedtls")
MBEDTLS_OURS = TOP / "subprojects/packagefiles/mbedtls"
MBEDTLS_FLAGS = ['-DMBEDTLS_CONFIG_FILE="godwit_config.h"', "-isystem", MBEDTLS / "include", "-isystem", MBEDTLS]
MBEDTLS_BUILD = ["-g", "-O2", "-w", "-fsanitize=fuzzer-no-link,address", f"-I{MBEDTLS}/library"]
BUILDING = Lock()  # two programs are built at once, of the same objects
AESNI_FLAGS = ["-maes", "-mpclmul", "-msse4.1"]


def compile_all(sources, folder, flags, is_kept=False):
    """Their objects in the folder; with is_kept those that are there already stay."""
    folder.mkdir(parents=True, exist_ok=True)

    def compile_one(source):
        made = folder / f"{source.relative_to(TOP).with_suffix('')}.o".replace("/", "-")
        if not (is_kept and made.exists()):
            new = made.with_suffix(f".{os.getpid()}.new")  # two runs at once keep apart
            subprocess.run(["clang", *flags, *flags_of(source), "-c", source, "-o", new], cwd=TOP, check=True)
            new.replace(made)
        return made
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compile_one, sources))


def flags_of(source):
    return AESNI_FLAGS if source.stem == "aesni" and platform.machine() == "x86_64" else []


@functools.cache
def build_common():
    """The objects that every fuzzer links, made once in a run."""
    return compile_all([*(TOP / name for name in PURE), LZ4 / "lib/lz4.c"], BUILD / "common",
                       [*FLAGS, *LZ4_FLAGS, *MBEDTLS_FLAGS])


def build_mbedtls():
    """Its objects, made once for a version, our configuration, and the way it is compiled."""
    clang = subprocess.run(["clang", "--version"], check=True, capture_output=True).stdout
    made_of = [clang, repr((MBEDTLS_BUILD, AESNI_FLAGS, MBEDTLS_FLAGS)).encode(),
               *(path.read_bytes() for path in sorted(MBEDTLS_OURS.iterdir()))]
    folder = BUILD / f"{MBEDTLS.name}-{hashlib.sha256(b''.join(made_of)).hexdigest()[:12]}"
    for old in BUILD.glob("mbedtls-*"):
        if old != folder:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    listed = (MBEDTLS_OURS / "meson.build").read_text()
    sources = [MBEDTLS / name for name in sorted(set(re.findall(r"library/[a-z0-9_]+\.c", listed)))]
    return compile_all(sources, folder, [*MBEDTLS_BUILD, *MBEDTLS_FLAGS], is_kept=True)


class Fuzzer:
    def __init__(self, name):
        self.name = name
        self.sources, self.max_len, self.seconds = PROGRAMS[name]
        self.program = BUILD / f"fuzz-{name}"
        self.crash = None

    def build(self):
        with BUILDING:
            objects = [*build_common(), *(build_mbedtls() if self.name in ("tls", "x509") else [])]
        subprocess.run(["clang", *FLAGS, *LZ4_FLAGS, *MBEDTLS_FLAGS, f"tests/fuzz/{self.name}.c",
                        "tests/fuzz/seed.c", *self.sources, *objects, "-lpthread", "-o", self.program],
                       cwd=TOP, check=True)

    def command(self):
        """With a fresh corpus of what the encoders make, and the environment that makes it."""
        corpus = BUILD / f"corpus-{self.name}"
        shutil.rmtree(corpus, ignore_errors=True)
        corpus.mkdir(parents=True)
        for old in BUILD.glob(f"crash-{self.name}-*"):
            old.unlink()
        return ([self.program, f"-max_total_time={self.seconds}", f"-max_len={self.max_len}",
                 "-timeout=30", "-error_exitcode=1", "-detect_leaks=0", "-print_final_stats=1",
                 f"-artifact_prefix={BUILD}/crash-{self.name}-", corpus],
                {"GW_FUZZ_SEEDS": str(corpus)})

    def replay(self):
        """The one command that runs again what went wrong."""
        crashes = sorted(BUILD.glob(f"crash-{self.name}-*"))
        return f"{os.path.relpath(self.program, TOP)} {os.path.relpath(crashes[0], TOP)}" \
            if crashes else f"tools/test fuzz -k {self.name}"
