# SPDX-License-Identifier: Apache-2.0
"""tools/bench: runs one bench and holds its rows to their targets.

A bench is a file bench_NAME.py beside this one, with a docstring whose first line says what it
measures, PEER (true: it needs `tools/setup peer`), and run(options, say), which returns a Table.
"""
import argparse
import ast
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
MISSED = 1
START = time.monotonic()

sys.path.insert(0, str(TOP / "tests/gateway"))

import chart  # noqa: E402
from harness.agent import AgentError  # noqa: E402


def say(text):
    print(f"bench: {time.monotonic() - START:5.0f} s  {text}", flush=True)


def names():
    return sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def describe(name):
    """The first paragraph of the bench's docstring, without running it."""
    text = ast.get_docstring(ast.parse((HERE / f"bench_{name}.py").read_text())) or ""
    return " ".join(text.split("\n\n")[0].split())


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8")
                  if line.startswith("model name")), os.uname().machine)
    return {"cpus": os.cpu_count(), "model": model, "kernel": os.uname().release}


def set_up(bench):
    words = ["peer"] if getattr(bench, "PEER", False) else []
    code = subprocess.run([TOP / "tools/setup", *words], check=False).returncode
    if code != 0:
        sys.exit(code)


def parse():
    benches = "\n".join(f"  {name:<10} {describe(name)}" for name in names())
    parser = argparse.ArgumentParser(
        prog="tools/bench", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures godwit beside a floor or a peer in the same run. docs/BENCHMARKS.md "
                    "has what each row means.\n\nbenches:\n" + benches,
        epilog="exit status: 0 done; 1 it could not be measured, or with --check a row misses its "
               "target;\n2 usage; 3 this machine lacks something")
    parser.add_argument("name", metavar="NAME", choices=names(), help="one of the benches above")
    parser.add_argument("--quick", action="store_true", help="fewer runs: a first look")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all of it there, too")
    parser.add_argument("--chart", metavar="FILE", type=Path, help="draw it there, as SVG")
    parser.add_argument("--check", action="store_true", help="fail when a row misses its target")
    return parser.parse_args()


def report(options, table):
    """Prints and stores it; returns the exit status."""
    print()
    for line in table.lines():
        print(line)
    if options.json:
        data = {"bench": options.name, "quick": options.quick, "machine": machine(),
                **table.as_data()}
        options.json.write_text(json.dumps(data, indent=1) + "\n")
    if options.chart:
        options.chart.write_text(chart.draw(table))
    print(table.summary(), flush=True)
    return MISSED if options.check and not table.passes else 0


def main():
    options = parse()
    sys.path.insert(0, str(HERE))
    bench = importlib.import_module(f"bench_{options.name}")
    set_up(bench)
    try:
        table = bench.run(options, say)
    except (RuntimeError, AssertionError, AgentError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"tools/bench: {options.name}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(report(options, table))


if __name__ == "__main__":
    main()
