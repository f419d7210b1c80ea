# SPDX-License-Identifier: Apache-2.0
"""The house's levels (docs/DESIGN.md): who may include whom.

A file includes its own folder or a strictly lower level. Pure code includes nothing of Linux.
What another folder may use stands in include/godwit/; such a header belongs to the folder whose
source bears its name, and one without a source is as high as what it includes.
"""
import re
from pathlib import Path

LEVELS = {"base": 0, "wire": 1, "control": 1, "host": 1, "migrate": 2, "device": 2, "transport": 2,
          "dirty": 2, "vm": 3, "drive": 3, "run": 4, "cli": 5}
PURE = {"base", "wire", "control", "migrate", "device"}
PURE_HEADERS = {"assert.h", "ctype.h", "inttypes.h", "limits.h", "stdalign.h", "stdarg.h",
                "stdbool.h", "stddef.h", "stdint.h", "stdio.h", "stdnoreturn.h", "string.h",
                "jsmn.h", "libfdt.h", "lz4.h", "zlib.h",
                # The compiler's own: instructions by name.
                "arm_acle.h", "arm_neon.h", "immintrin.h", "nmmintrin.h"}
# The arena stands in for the C library's heap, whose functions set errno and are called by all
# threads; a failed assertion ends the process.
ALSO_ALLOWED = {"src/base/arena.c": {"errno.h", "stdlib.h", "stdatomic.h", "pthread.h"},
                "src/base/status.c": {"stdlib.h"}}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


class House:
    def __init__(self, top):
        self.top = Path(top)
        self.sources = sorted((self.top / "src").rglob("*.[ch]"))
        self.headers = sorted((self.top / "include/godwit").glob("*.h"))
        self.owner = {}  # of a public header: the folder with the source of its name
        for source in self.sources:
            public = self.top / "include/godwit" / f"{source.stem}.h"
            if source.suffix == ".c" and public.exists():
                self.owner[public] = source.parent.name

    def folder_of(self, path):
        """None for main.c, the board, and headers without a source."""
        if path in self.owner:
            return self.owner[path]
        if path.is_relative_to(self.top / "src") and path.parent != self.top / "src":
            return path.relative_to(self.top / "src").parts[0]
        return None

    def level_of(self, path, seen=()):
        folder = self.folder_of(path)
        if folder is not None:
            return LEVELS[folder]
        if path.parent == self.top / "src":
            return max(LEVELS.values()) + 1
        if path in seen:
            return 0
        below = [self.resolve(path, name) for _, name in includes(path)]
        return max([self.level_of(one, (*seen, path)) for one in below if one], default=0)

    def is_pure(self, path, seen=()):
        """A header without a source is pure if all it includes is."""
        folder = self.folder_of(path)
        if folder is not None:
            return folder in PURE
        if path.parent == self.top / "src":
            return False
        if path in seen:
            return True
        for _, name in includes(path):
            one = self.resolve(path, name)
            pure = self.is_pure(one, (*seen, path)) if one else name in PURE_HEADERS | {"board.h"}
            if not pure:
                return False
        return True

    def resolve(self, path, name):
        """The file of the tree that an include means, or None for any other header."""
        for folder in (path.parent, self.top / "include", self.top / "src"):
            if (folder / name).is_file():
                return folder / name
        return None


def includes(path):
    return INCLUDE.findall(path.read_text(errors="replace"))


def violations(top):
    house = House(top)
    lines = []
    for path in house.sources + house.headers:
        shown = path.relative_to(house.top)
        unknown = house.folder_of(path) not in {None, *LEVELS}
        if unknown:
            lines.append(f"{shown}: src/{house.folder_of(path)} has no level")
            continue
        for _, name in includes(path):
            problem = _problem(house, path, name)
            if problem:
                lines.append(f"{shown}: includes {name}: {problem}")
    return lines


def _problem(house, path, name):
    target = house.resolve(path, name)
    own = house.folder_of(path)
    if target is None:
        allowed = PURE_HEADERS | {"board.h"} | ALSO_ALLOWED.get(str(path.relative_to(house.top)), set())
        if own in PURE and name not in allowed:
            return f"src/{own} is pure, this is the system's"
        return None
    other = house.folder_of(target)
    if other == own and own is not None:
        return None
    if other is not None and other not in LEVELS:
        return f"src/{other} has no level"
    # src/base is everyone's toolbox: its headers of inline helpers need no contract apart.
    if target.is_relative_to(house.top / "src") and other != "base":
        return f"a private header of src/{other}; what others may use is in include/godwit/"
    if own in PURE and not house.is_pure(target):
        return f"src/{own} is pure, this is Linux's (src/{other})"
    if own is not None and other is not None and LEVELS[other] >= LEVELS[own]:
        return f"src/{own} is level {LEVELS[own]}, src/{other} is level {LEVELS[other]}"
    if own is not None and other is None and house.level_of(target) > LEVELS[own]:
        return f"src/{own} is level {LEVELS[own]}, what this includes is higher"
    return None
