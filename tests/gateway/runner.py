# SPDX-License-Identifier: Apache-2.0
"""Finds and runs the gateway tests: test_*.py beside this file, functions test_*.

A pair of gateways keeps less than one core busy, so two workers run at once, each a process with
gateways of its own. A worker goes on with tests that its gateways fit. One whose test takes too long
is ended, with its gateways, and another takes its place."""
import importlib
import multiprocessing
import multiprocessing.connection
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from harness import images, log  # noqa: E402
from harness.agent import AgentError  # noqa: E402
from harness.case import Skip  # noqa: E402
from harness.network import Network, own_folder, running_gateways  # noqa: E402
from harness.paths import BUILD, GATEWAYS, TOP  # noqa: E402

WORKERS = 2
# Far more than a test takes on a slow machine; those with long=True do the same thing many times.
SECONDS_MAX, SECONDS_MAX_LONG = 300, 900

PURPOSE = "test"  # in the names of the folders of gateways

# What a healthy gateway's kernel never says, whatever godwit does in it.
KERNEL_TROUBLE = "WARNING:|BUG:|Oops|Internal error|Call trace|kvm .*: unhandled"


class Test:
    def __init__(self, function):
        module = function.__module__.removeprefix("test_")
        self.name = f"{module}.{function.__name__.removeprefix('test_')}"
        self.function = function
        self.long, self.fresh = function.long, function.fresh
        self.seconds_max = SECONDS_MAX_LONG if self.long else SECONDS_MAX
        self.options = function.gateways
        self.key = repr(sorted(self.options.items(), key=repr))
        self.log = BUILD / "logs/gateway" / f"{self.name}.log"


def find_tests(wanted=None, all_tests=False):
    """In the order of files, but tests that share gateways together."""
    tests = []
    for path in sorted(HERE.glob("test_*.py")):
        module = importlib.import_module(path.stem)
        tests += [Test(function) for name, function in vars(module).items()
                  if name.startswith("test_") and hasattr(function, "gateways")]
    tests = [test for test in tests if wanted is None or wanted in test.name]
    if not all_tests and wanted is None:
        tests = [test for test in tests if not test.long]
    keys = list(dict.fromkeys(test.key for test in tests))
    return sorted(tests, key=lambda test: keys.index(test.key))


class Worker:
    """One set of gateways, and the tests that run on it, one after the other."""

    def __init__(self):
        self._network, self.key = None, None
        self._folder = own_folder(PURPOSE)

    def run(self, test):
        """(outcome, seconds, detail); outcome: pass fail skip."""
        log.open_log(test.log)
        start = time.monotonic()
        outcome, detail = "pass", ""
        try:
            network = self._network_for(test)
            test.function(network)
            _check_kernels(network)
        except Skip as reason:
            outcome, detail = "skip", str(reason)
        except Exception:
            outcome, detail = "fail", traceback.format_exc()
            log.write(detail)
            self._log_consoles()
            self.close()
        log.close_log()
        return outcome, time.monotonic() - start, detail

    def _network_for(self, test):
        if self._network is not None and (test.fresh or self.key != test.key):
            self.close()
        if self._network is not None:
            try:
                _clean(self._network)
                return self._network
            except (AgentError, AssertionError, OSError) as error:
                log.write(f"gateways not reusable, booting new ones: {error}")
                self.close()
        self._network = Network(self._folder, **test.options)
        self.key = None if test.fresh else test.key
        return self._network.up()

    def _log_consoles(self):
        for gateway in self._network or []:
            for told in gateway.running_commands():
                log.write(f"gateway {gateway.number}: still runs: {told}")
            log.write(f"console of gateway {gateway.number}: {gateway.console_tail()}")

    def close(self):
        if self._network is not None:
            self._network.down()
        self._network, self.key = None, None


def _work(tests, channel):
    """A worker's process: takes tests by number until it is given None."""
    worker, done = Worker(), None
    try:
        while True:
            channel.send((worker.key, done))
            number = channel.recv()
            if number is None:
                break
            done = worker.run(tests[number])
    finally:
        worker.close()


def _pick(tests, pending, key):
    """The next test for gateways of this key: one that they fit, else the first of all."""
    fitting = [number for number in pending if tests[number].key == key]
    number = (fitting or pending)[0]
    pending.remove(number)
    return number


class Process:
    """A worker's process as the runner sees it: the test that it has in hand, and until when."""

    def __init__(self, tests):
        context = multiprocessing.get_context("fork")
        self.channel, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(tests, theirs))
        self._process.start()
        theirs.close()
        self.test, self._since = None, None

    def give(self, number, test):
        """None, None: nothing more."""
        self.test, self._since = test, time.monotonic()
        self.channel.send(number)

    def seconds_left(self):
        return None if self.test is None else \
            max(0, self._since + self.test.seconds_max - time.monotonic())

    def receive(self):
        """What _work sends; None when it has ended."""
        try:
            return self.channel.recv()
        except EOFError:
            return None

    def bury(self, is_late):
        """Ends it and its gateways. (outcome, seconds, detail) of its test, whose log says why."""
        why = f"no end within {self.test.seconds_max} s" if is_late else "the process that ran it ended"
        self._process.kill()
        self._process.join()
        said = [why]
        for gateway in running_gateways(GATEWAYS / f"{PURPOSE}.{self._process.pid}"):
            said.append(f"console of gateway {gateway.number}: {gateway.console_tail()}")
            gateway.stop()
        self.test.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.test.log, "a", encoding="utf-8") as file:
            file.write("\n".join(said) + "\n")
        return "fail", time.monotonic() - self._since, why


def run(tests, report):
    """report(test, outcome, seconds, detail) is called as each test ends."""
    if any(test.options.get("pages") == "peer" for test in tests):
        subprocess.run([TOP / "tools/setup", "peer"], check=True)
    images.build_programs()
    pending = list(range(len(tests)))
    running = [Process(tests) for _ in range(max(1, min(WORKERS, os.cpu_count(), len(tests))))]
    while running:
        left = [process.seconds_left() for process in running if process.test is not None]
        ready = multiprocessing.connection.wait([process.channel for process in running],
                                                min(left, default=None))
        for process in list(running):
            is_late = process.seconds_left() == 0
            if process.channel not in ready and not is_late:
                continue
            heard = process.receive() if process.channel in ready else None
            if heard is None:
                running.remove(process)
                if process.test is not None:
                    report(process.test, *process.bury(is_late))
                    running += [Process(tests)] if pending else []
                continue
            key, done = heard
            if done is not None:
                report(process.test, *done)
            number = _pick(tests, pending, key) if pending else None
            process.give(number, None if number is None else tests[number])
    for number in pending:
        report(tests[number], "fail", 0.0, "no process is left to run it")


def _clean(network):
    network.link(True)
    for gateway in network:
        gateway.shell("set -e; killall -q -9 godwit cutter || :; "
                      "while pidof godwit cutter >/dev/null; do usleep 20000; done; "
                      "rm -rf /run/godwit /tmp/*; dmesg -c >/dev/null")


def _check_kernels(network):
    for gateway in network:
        if gateway.running():
            found = gateway.run("sh", "-c", f"dmesg | grep -E -A20 '{KERNEL_TROUBLE}'")
            assert found.code != 0, f"gateway {gateway.number}'s kernel: {found.text()}"
