# SPDX-License-Identifier: Apache-2.0
"""Rules of the tree that a compiler does not know. Each check returns (outcome, lines)."""
import re
import shutil
import subprocess
from pathlib import Path

from . import levels

TOP = Path(__file__).resolve().parents[2]
FORMATTER = "clang-format-19"  # by version: others lay out differently
LINES_MAX = 600
HEAP_CALLS = "malloc|calloc|realloc|reallocarray|free|aligned_alloc|posix_memalign|strdup|strndup|asprintf"
HEAP_OWNER = "src/base/arena.c"
# Written apart, so that this file does not hold what it forbids.
REGISTRY_HOSTS = [".".join(parts) for parts in (
    ("deb", "debian", "org"), ("security", "debian", "org"), ("snapshot", "debian", "org"),
    ("ftp", "debian", "org"), ("pypi", "org"), ("registry", "npmjs", "org"), ("crates", "io"),
    ("proxy", "golang", "org"), ("ghcr", "io"), ("docker", "io"))]


def outcome(lines):
    return ("fail" if lines else "pass"), lines


def tree_files(*patterns):
    """Files of the tree, committed or about to be, that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=TOP, check=True, capture_output=True).stdout
    paths = sorted({TOP / name.decode() for name in listed.split(b"\0") if name})
    return [path for path in paths if path.is_file()]


def name_of(path):
    return str(path.relative_to(TOP))


def code_lines(path):
    """(number, line) with comments and strings blanked: what is left is code."""
    text = path.read_text(errors="replace")

    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0)) if match.group(0)[0] == "/" else '""'
    text = re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.S)
    return enumerate(text.split("\n"), 1)


def search_code(paths, pattern, message):
    found = re.compile(pattern)
    return [f"{name_of(path)}:{number}: {message}: {line.strip()}"
            for path in paths for number, line in code_lines(path) if found.search(line)]


def check_levels():
    """A folder includes only lower levels, pure code nothing of Linux (docs/DESIGN.md)."""
    return outcome(levels.violations(TOP))


def check_heap():
    """No call of the malloc family in the project's code."""
    paths = [path for path in tree_files("src/*.c", "src/*.h", "include/*.h")
             if name_of(path) != HEAP_OWNER]
    return outcome(search_code(paths, rf"(?<![\w.>])({HEAP_CALLS})\s*\(", "heap"))


def check_spdx():
    """The licence's line in each source."""
    sources = tree_files("*.c", "*.h", "*.py", "*meson.build", "tools/*", ".ci/*", "*.S", "*.ld")
    return outcome([f"{name_of(path)}: no SPDX line at the top" for path in sources
                    if "SPDX-License-Identifier: Apache-2.0"
                    not in "\n".join(path.read_text().split("\n")[:3])])


def check_host_names():
    """No package registry is named: a user's machine knows its own."""
    lines = []
    for path in tree_files():
        text = path.read_text(errors="replace")
        lines += [f"{name_of(path)}: names {host}" for host in REGISTRY_HOSTS if host in text]
    return outcome(lines)


def check_unfinished():
    """Nothing in the tree is a stub."""
    marks = "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3))
    lines = []
    for path in tree_files("src", "include", "board", "tests", "tools", "meson.build", "cross"):
        for number, line in enumerate(path.read_text(errors="replace").split("\n"), 1):
            if re.search(rf"\b({marks})\b", line):
                lines.append(f"{name_of(path)}:{number}: {line.strip()}")
    return outcome(lines)


def check_whitespace():
    """No tabs in C, no spaces at line ends, a newline at the end of each file."""
    lines = []
    for path in tree_files("*.c", "*.h", "*.py", "*meson.build", "*.md", "tools/*"):
        text = path.read_text(errors="replace")
        if path.suffix in (".c", ".h") and "\t" in text:
            lines.append(f"{name_of(path)}: a tab")
        if re.search(r"[ \t]$", text, re.M):
            lines.append(f"{name_of(path)}: spaces at the end of a line")
        if text and not text.endswith("\n"):
            lines.append(f"{name_of(path)}: no newline at the end")
    return outcome(lines)


def check_length():
    """A file that is too long holds two ideas."""
    lines = []
    for path in tree_files("*.c", "*.h", "*.py", "tools/*"):
        count = path.read_text(errors="replace").count("\n")
        if count > LINES_MAX:
            lines.append(f"{name_of(path)}: {count} lines, at most {LINES_MAX} wanted")
    return outcome(lines)


def check_float_text():
    """No text is made of floating-point numbers: the release has no code for it (cross/small.ld)."""
    number = re.compile(r'"(?:\\.|[^"\\\n])*?(?<!%)(?:%%)*%[-+ #0]*[\d*]*(?:\.[\d*]*)?[lL]?[aAeEfFgG]')
    lines = []
    for path in tree_files("src/*.c", "src/*.h", "include/*.h"):
        text = re.sub(r"/\*.*?\*/", lambda found: re.sub(r"[^\n]", " ", found.group(0)),
                      path.read_text(), flags=re.S)
        lines += [f"{name_of(path)}:{number_of}: {line.strip()}"
                  for number_of, line in enumerate(text.split("\n"), 1) if number.search(line)]
    return outcome(lines)


def check_diagrams():
    """docs/HANDOVER.md draws the state machines that src/migrate has."""
    done = subprocess.run([TOP / "tools/diagrams", "--check"], capture_output=True, text=True,
                          check=False)
    return outcome(done.stderr.splitlines() if done.returncode else [])


def check_asserts():
    """Assertions have no side effects."""
    paths = tree_files("src/*.c", "src/*.h", "include/*.h")
    changes = r"\b(?:GW_ASSERT|assert)\s*\((?=.*(?:\+\+|--|[^=!<>+\-*/|&^]=[^=]|[+\-*/|&^]=[^=]))"
    return outcome(search_code(paths, changes, "an assertion that changes something"))


def check_format():
    """clang-format decides."""
    if shutil.which(FORMATTER) is None:
        return "skip", [f"no {FORMATTER} here, and other versions lay out differently"]
    paths = tree_files("*.c", "*.h")
    if not paths:
        return "pass", []
    done = subprocess.run([FORMATTER, "--dry-run", "--Werror", *paths], cwd=TOP,
                          capture_output=True, text=True, check=False)
    bad = sorted({line.split(":")[0] for line in done.stderr.split("\n") if "error: code should" in line})
    if done.returncode != 0 and not bad:
        return "fail", [f"{FORMATTER} ended with {done.returncode}:", *done.stderr.splitlines()]
    return outcome([f"{FORMATTER} -i {name_of(Path(name))}   # is laid out otherwise"
                    for name in bad])


ALL = [check_levels, check_heap, check_spdx, check_host_names, check_unfinished, check_whitespace,
       check_length, check_float_text, check_diagrams, check_asserts, check_format]
