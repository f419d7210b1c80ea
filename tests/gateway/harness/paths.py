# SPDX-License-Identifier: Apache-2.0
"""Where things lie."""
from pathlib import Path

TOP = Path(__file__).resolve().parents[3]
BUILD = TOP / "build"
CACHE = BUILD / "cache"
RELEASE = BUILD / "aarch64"
GATEWAYS = BUILD / "gateways"
EMULATOR = "qemu-system-aarch64"
