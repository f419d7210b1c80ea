# SPDX-License-Identifier: Apache-2.0
"""A link of a given speed on this machine: a network namespace at the other end of a pair of virtual
Ethernet devices, each of which sends no faster than that (tbf). The source stays here, the target
listens over there."""
import os
import subprocess

HERE, THERE = "10.254.77.1", "10.254.77.2"
BURST_BYTES = 128 * 1024  # less than a millisecond of the fastest link
QUEUE_MS = 20


class NoLink(Exception):
    """This machine does not let us make one; the text says why."""


def _run(*words):
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoLink(f"{' '.join(words)}: {done.stderr.strip()}")


class Link:
    """with Link(mbit) as link: the target's host is link.host, in network namespace link.netns."""

    host = THERE

    def __init__(self, mbit):
        self._mbit = mbit
        self.netns = f"godwit-bench-{os.getpid()}"
        self._here, self._there = f"gwb{os.getpid()}a"[-15:], f"gwb{os.getpid()}b"[-15:]

    def __enter__(self):
        try:
            self._make()
        except FileNotFoundError as error:
            raise NoLink(f"{error.filename} is missing (package iproute2)") from error
        except NoLink:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        subprocess.run(["ip", "link", "delete", self._here], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "delete", self.netns], capture_output=True, check=False)

    def _make(self):
        inside = ("ip", "netns", "exec", self.netns)
        _run("ip", "netns", "add", self.netns)
        _run("ip", "link", "add", self._here, "type", "veth", "peer", "name", self._there,
             "netns", self.netns)
        _run("ip", "address", "add", f"{HERE}/30", "dev", self._here)
        _run(*inside, "ip", "address", "add", f"{THERE}/30", "dev", self._there)
        for prefix, device in (((), self._here), (inside, self._there)):
            _run(*prefix, "ip", "link", "set", device, "up")
            _run(*prefix, "tc", "qdisc", "add", "dev", device, "root", "tbf", "rate",
                 f"{self._mbit}mbit", "burst", str(BURST_BYTES), "latency", f"{QUEUE_MS}ms")
