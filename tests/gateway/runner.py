# SPDX-License-Identifier: Apache-2.0
"""Finds and runs the gateway tests: test_*.py beside this file, functions test_*.

A pair of gateways keeps less than one core busy, so two workers run at once, each a process with
gateways of its own. A worker goes on with tests that its gateways fit."""
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
from harness.network import Network, own_folder  # noqa: E402
from harness.paths import BUILD, TOP  # noqa: E402

WORKERS = 2

# What a healthy gateway's kernel never says, whatever godwit does in it.
KERNEL_TROUBLE = "WARNING:|BUG:|Oops|Internal error|Call trace|kvm .*: unhandled"


class Test:
    def __init__(self, function):
        module = function.__module__.removeprefix("test_")
        self.name = f"{module}.{function.__name__.removeprefix('test_')}"
        self.function = function
        self.long, self.fresh = function.long, function.fresh
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
        self._folder = own_folder("test")

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


def run(tests, report):
    """report(test, outcome, seconds, detail) is called as each test ends."""
    if any(test.options.get("pages") == "peer" for test in tests):
        subprocess.run([TOP / "tools/setup", "peer"], check=True)
    images.build_programs()
    pending, running = list(range(len(tests))), {}
    context = multiprocessing.get_context("fork")
    for _ in range(max(1, min(WORKERS, os.cpu_count(), len(tests)))):
        ours, theirs = context.Pipe()
        context.Process(target=_work, args=(tests, theirs)).start()
        theirs.close()
        running[ours] = None
    while running:
        for channel in multiprocessing.connection.wait(list(running)):
            test = running[channel]
            try:
                key, done = channel.recv()
            except EOFError:  # told to end; or its process died with a test in hand
                del running[channel]
                if test is not None:
                    report(test, "fail", 0.0, "the process that ran it ended")
                continue
            if done is not None:
                report(test, *done)
            running[channel] = None
            if pending:
                number = _pick(tests, pending, key)
                running[channel] = tests[number]
                channel.send(number)
            else:
                channel.send(None)
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
