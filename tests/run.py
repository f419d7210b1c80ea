# SPDX-License-Identifier: Apache-2.0
"""tools/test: runs the parts, shows each test as it ends, and counts.

A part is a list of tests, which it knows before it has built them; a test is a name and a function
that returns (outcome, detail), outcome being pass, fail or skip. Programs say "skip" by exit code
77, as meson's do, with the reason as the last line they print; or they skip each case of theirs.
"""
import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
BUILD = TOP / "build"
LOGS = BUILD / "logs"
TAIL_LINES = 40
WHY_LINES = 8  # of what stands before the tail
WHY = re.compile(r"\bERROR\b|\berror: |Sanitizer: |Error: ")
SKIP_CODE = 77
# What cmocka says of a group at its end, and of those of it that were skipped.
CASES = re.compile(r"^\[==========\] .*: (\d+) test\(s\) run\.$", re.M)
SKIPPED = re.compile(r"^\[  SKIPPED \] .*: (\d+) test\(s\), listed below:$", re.M)

sys.path.insert(0, str(TOP / "tests/gateway"))
sys.path.insert(0, str(TOP / "tests"))


def what_to_show(detail):
    """The end of what a failed test printed; before it the lines above that say why it failed."""
    lines = detail.rstrip().splitlines()
    above = [line for line in lines[:-TAIL_LINES] if WHY.search(line)]
    return above[:WHY_LINES] + (["…"] if len(lines) > TAIL_LINES else []) + lines[-TAIL_LINES:]


def count_cases(detail):
    """(all, skipped) of the cases that a program of cmocka tests says it had."""
    return tuple(sum(map(int, found.findall(detail))) for found in (CASES, SKIPPED))


class Counter:
    """Prints each outcome at once. replay: the one command that runs just this test again."""

    def __init__(self):
        self.counts = {"pass": 0, "fail": 0, "skip": 0}
        self.failed = []

    def report(self, part, name, outcome, seconds, detail, replay):
        self.counts[outcome] += 1
        word = {"pass": "ok  ", "fail": "FAIL", "skip": "skip"}[outcome]
        cases, skipped = count_cases(detail)
        reason = f": {skipped} of {cases} cases skipped" if skipped else ""
        if outcome == "skip" and detail and not reason:
            reason = f": {detail.strip().splitlines()[-1]}"
        print(f"{word} {part} {name} ({seconds:.1f} s){reason}", flush=True)
        if outcome == "fail":
            shown = what_to_show(detail)
            why = next((line.strip() for line in shown if WHY.search(line)), "")
            self.failed.append((part, name, why, replay))
            for line in shown:
                print(f"     | {line}")
            print(f"     again: {replay}", flush=True)

    def summary(self):
        for part, name, why, replay in self.failed:
            print(f"failed: {part} {name}{why and ': ' + why}; again: {replay}")
        print(f"{self.counts['pass']} passed, {self.counts['fail']} failed, "
              f"{self.counts['skip']} skipped", flush=True)


def run_program(command, log, timeout, env, folder, skip_code=SKIP_CODE):
    """(outcome, detail) of a program; its output goes to the log. One that has no way to say "skip"
    has None as skip_code."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as out:
        try:
            code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                  cwd=folder, timeout=timeout, env={**os.environ, **env},
                                  check=False).returncode
        except subprocess.TimeoutExpired:
            out.write(f"\ntimed out after {timeout} s\n".encode())
            code = "timeout"
    detail = log.read_text(errors="replace")
    if code == 0:
        cases, skipped = count_cases(detail)
        return ("skip" if cases and cases == skipped else "pass"), detail
    if code == skip_code:
        return "skip", detail
    return "fail", f"{detail}\nexit: {code}"


class Programs:
    """A part made of a meson build's tests of one suite."""
    arguments = []  # what the programs get; what they say is shown then

    def __init__(self, name, build, suite=None):
        self.name, self.build, self.suite = name, build, suite

    def prepare(self):
        subprocess.run([TOP / "tools/build", self.build], check=True)

    def tests(self, _options):
        subprocess.run([TOP / "tools/build", self.build, "--", "build.ninja"], check=True)
        listed = subprocess.run(["/usr/bin/meson", "introspect", "--tests", BUILD / self.build],
                                check=True, capture_output=True, text=True).stdout
        return [test for test in json.loads(listed)
                if any(suite.split(":")[-1] == self.suite for suite in test["suite"])]

    def test_name(self, test):
        return test["name"]

    def run(self, tests, counter):
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda test: self._run_one(test, counter), tests))

    def _run_one(self, test, counter):
        command = list(test["cmd"]) + self.arguments
        foreign = self.build == "aarch64" and os.uname().machine != "aarch64"
        if foreign and Path(command[0]).is_relative_to(BUILD / self.build):
            command.insert(0, "qemu-aarch64")
        start = time.monotonic()
        outcome, detail = run_program(command, LOGS / self.name / f"{test['name']}.log",
                                      test["timeout"] or 600, test["env"],
                                      test["workdir"] or BUILD / self.build)
        if self.arguments and outcome == "pass":
            print(detail, end="")
        counter.report(self.name, test["name"], outcome, time.monotonic() - start, detail,
                       shlex.join(["tools/test", self.name, *(self.arguments or ["-k", test["name"]])]))


class Simulator(Programs):
    """Both engines under faults (tests/sim); --runs, --seed and --replay are its options."""
    options = ("runs", "seed", "replay")

    def prepare(self):
        subprocess.run([TOP / "tools/build", self.build, "--", "tests/sim/sim"], check=True)

    def tests(self, options):
        self.arguments = [word for name in self.options if getattr(options, name)
                          for word in (f"--{name}", getattr(options, name))]
        return [{"name": "sim", "cmd": [str(BUILD / self.build / "tests/sim/sim")], "timeout": 600, "env": {},
                 "workdir": None}]


class Lint:
    name = "lint"

    def prepare(self):
        pass

    def tests(self, _options):
        from lint import checks
        return checks.ALL

    def test_name(self, test):
        return test.__name__.removeprefix("check_")

    def run(self, tests, counter):
        for test in tests:
            self._run_one(test, counter)

    def _run_one(self, test, counter):
        start = time.monotonic()
        outcome, lines = test()
        counter.report(self.name, self.test_name(test), outcome, time.monotonic() - start,
                       "\n".join(lines), f"tools/test {self.name} -k {self.test_name(test)}")


class Image(Lint):
    """What the linked release may and may not hold."""
    name = "image"

    def prepare(self):
        subprocess.run([TOP / "tools/build", "aarch64"], check=True)

    def tests(self, _options):
        from lint import image
        return image.ALL


class Model(Lint):
    """The handover, every state of it (tests/model)."""
    name = "model"

    def tests(self, options):
        from model import check
        return check.ALL + (check.LONG if options.all else [])

    def run(self, tests, counter):
        """Each is programs of its own, in a folder of its own. What one raises, the part raises."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda test: self._run_one(test, counter), tests))


class Fuzzers:
    """What reads a peer's bytes, on bytes that libFuzzer makes up (tests/fuzz)."""
    name = "fuzz"

    def prepare(self):
        import fuzz
        subprocess.run([TOP / "tools/build", "native", "--", "build.ninja"], check=True)  # unpacks what they link
        fuzz.build_common()

    def tests(self, options):
        import fuzz
        fuzzers = [fuzz.Fuzzer(name) for name in fuzz.PROGRAMS]
        for fuzzer in fuzzers:
            fuzzer.seconds = fuzz.SECONDS_ALL if options.all else fuzzer.seconds
        return fuzzers

    def test_name(self, test):
        return test.name

    def run(self, tests, counter):
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda test: self._run_one(test, counter), tests))

    def _run_one(self, test, counter):
        start = time.monotonic()
        try:
            test.build()
            command, env = test.command()
            outcome, detail = run_program(command, LOGS / self.name / f"{test.name}.log",
                                          test.seconds + 120, env, TOP, skip_code=None)
        except subprocess.CalledProcessError as error:
            outcome, detail = "fail", str(error)
        counter.report(self.name, test.name, outcome, time.monotonic() - start, detail,
                       test.replay())


class Gateways:
    name = "gateway"

    def prepare(self):
        pass  # the runner builds what goes inside

    def tests(self, options):
        import runner
        return runner.find_tests(options.k, options.all)

    def test_name(self, test):
        return test.name

    def run(self, tests, counter):
        import runner

        def report(test, outcome, seconds, detail):
            if outcome == "fail":
                detail = test.log.read_text(errors="replace")
            counter.report(self.name, test.name, outcome, seconds, detail,
                           f"tools/test gateway -k {test.name}")
        runner.run(tests, report)


PARTS = [
    Lint(),
    Programs("unit", "native", "unit"),
    Simulator("sim", "native"),
    Model(),
    Programs("embedder", "native", "embedder"),
    Fuzzers(),
    Image(),
    Programs("unit-aarch64", "aarch64", "unit"),
    Gateways(),
]
# Longer, and no part of the ordinary run.
LONG_PARTS = [
    Programs("unit-tsan", "tsan", "unit"),
    Programs("embedder-tsan", "tsan", "embedder"),
    Simulator("sim-aarch64", "aarch64"),
]


def run_part(part, options, counter):
    start = time.monotonic()
    try:
        tests = part.tests(options)
        if options.k:
            tests = [test for test in tests if options.k in part.test_name(test)]
        if options.list:
            for test in tests:
                print(f"{part.name} {part.test_name(test)}")
            return
        if not tests:
            if not options.k:
                raise RuntimeError("it has no tests")
            return
        part.prepare()
        part.run(tests, counter)
        print(f"     {part.name}: {time.monotonic() - start:.0f} s in all", flush=True)
    except BrokenPipeError:  # nobody reads what is said here
        raise
    except Exception as error:  # a part that cannot start is one failed test
        counter.report(part.name, "(preparation)", "fail", time.monotonic() - start,
                       f"{type(error).__name__}: {error}", f"tools/test {part.name}")


def main():
    names = [part.name for part in PARTS + LONG_PARTS]
    parser = argparse.ArgumentParser(prog="tools/test", description=f"Parts: {', '.join(names)}")
    parser.add_argument("parts", nargs="*", metavar="PART", help="default: all but the long ones")
    parser.add_argument("-k", metavar="TEXT", help="only tests whose names hold this text")
    parser.add_argument("--all", action="store_true", help="the long parts and tests too")
    parser.add_argument("--runs", metavar="N", help="of sim: N random runs instead of everything")
    parser.add_argument("--seed", metavar="S", help="of sim: random runs begin with this seed")
    parser.add_argument("--replay", metavar="PLAN", help="of sim: one run, told step by step")
    parser.add_argument("--list", action="store_true", help="list tests, run none")
    options = parser.parse_args()
    for name in options.parts:
        if name not in names:
            parser.error(f"no part of the name '{name}'; there are {', '.join(names)}")
    if any(getattr(options, name) for name in Simulator.options) and \
            not all(name.startswith("sim") for name in options.parts or ["all"]):
        parser.error("--runs, --seed and --replay are for the part sim")
    chosen = [part for part in PARTS + LONG_PARTS if part.name in options.parts] or \
        (PARTS + LONG_PARTS if options.all else PARTS)
    counter = Counter()
    for part in chosen:
        run_part(part, options, counter)
    if not options.list:
        counter.summary()
        if sum(counter.counts.values()) == 0:
            sys.exit("tools/test: no test of that name")
    sys.exit(1 if counter.failed else 0)


try:
    main()
except BrokenPipeError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what Python says in the end
    sys.exit(1)
