# SPDX-License-Identifier: Apache-2.0
"""A guest's console as it was seen from outside: each line with the moment it came."""
import re
import threading
import time

from .agent import AgentError

COUNT = re.compile(r"^count (\d+) uptime_us (\d+) wall_us (\d+) gap_us (\d+)(?: load_passes (\d+))?"
                   r"(?: cpus ([\d,]+))?$")
# What a healthy guest never says.
TROUBLE = re.compile(r"LOAD BAD|WARNING:|BUG:|Oops|Internal error|[Cc]all trace|Kernel panic|"
                     r"rcu:.*stall|soft lockup|clocksource.*unstable|sched: RT throttling|cannot")


class Count:
    """One line of the counter; seen_us is our clock (CLOCK_MONOTONIC of the PC)."""

    def __init__(self, match, seen_us):
        numbers = [int(match.group(i)) for i in range(1, 5)]
        self.number, self.uptime_us, self.wall_us, self.gap_us = numbers
        self.load_passes = int(match.group(5) or 0)
        self.cpus = [int(word) for word in (match.group(6) or "").split(",") if word]
        self.seen_us = seen_us


class Console:
    """Fed by the reader of the console's bytes; any thread may wait on it."""

    def __init__(self, changed=None, echo=None):
        self._changed = changed or threading.Condition()
        self._echo = echo
        self._buffer = b""
        self._begun_us = None
        self._ended = False
        self.first_seen_us = None
        self.last_seen_us = None
        self.bytes = b""
        self.lines = []  # (text, when its first byte came: a line takes a while to print)

    def feed(self, data):
        now_us = time.monotonic_ns() // 1000
        with self._changed:
            self.first_seen_us = self.first_seen_us or now_us
            self.last_seen_us = now_us
            self.bytes += data
            *whole, rest = (self._buffer + data).split(b"\n")
            for line in whole:
                text = line.rstrip(b"\r").decode(errors="replace")
                self.lines.append((text, self._begun_us or now_us))
                self._begun_us = None
                if self._echo:
                    self._echo(text)
            if rest and (whole or not self._buffer):
                self._begun_us = now_us
            self._buffer = rest
            self._changed.notify_all()

    def end(self):
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def counts(self):
        with self._changed:
            matches = [(COUNT.match(text), seen_us) for text, seen_us in self.lines]
        return [Count(match, seen_us) for match, seen_us in matches if match]

    def wait_for_line(self, text, timeout=120):
        """Waits for a line that holds this text; returns the line."""
        def find():
            return next((line for line, _ in self.lines if text in line), None)
        return self._wait(find, f"a line with '{text}'", timeout)

    def wait_for_lines(self, text, count, timeout=120):
        """Waits until this many lines hold this text."""
        def find():
            return sum(text in line for line, _ in self.lines) >= count or None
        self._wait(find, f"{count} lines with '{text}'", timeout)

    def wait_for_counts(self, more, timeout=120):
        """Waits until `more` further lines were counted; returns the last."""
        wanted = len(self.counts()) + more

        def find():
            counts = self.counts()
            return counts[-1] if len(counts) >= wanted else None
        return self._wait(find, f"{more} more counts", timeout)

    def wait_for_load(self, passes, timeout=120):
        """Waits until the guest's memory load has gone `passes` further times over its memory."""
        counts = self.counts()
        wanted = (counts[-1].load_passes if counts else 0) + passes

        def find():
            last = self.counts()[-1:]
            return last[0] if last and last[0].load_passes >= wanted else None
        return self._wait(find, f"{passes} more passes of its load", timeout)

    def tail(self, lines=12):
        with self._changed:
            return "\n".join(text for text, _ in self.lines[-lines:])

    def _wait(self, find, what, timeout):
        found = None

        def done():
            nonlocal found
            found = find()
            return found is not None or self._ended
        with self._changed:
            self._changed.wait_for(done, timeout)
        if found is None:
            raise AgentError(f"the guest's console did not show {what} "
                             f"({'it ended' if self._ended else f'within {timeout} s'}); "
                             f"last lines:\n{self.tail()}")
        return found


def check_continuous(*consoles):
    """The consoles of one guest, in the order in which it lived there, show one history: no count
    skipped or repeated, no clock going back, no trouble. Returns all counts."""
    joined = Console()
    for console in consoles:
        joined.feed(console.bytes)
    troubles = [text for text, _ in joined.lines if TROUBLE.search(text)]
    assert not troubles, f"the guest complains: {troubles[:5]}"
    counts = joined.counts()
    assert counts, "the guest did not count"
    for before, after in zip(counts, counts[1:]):
        assert after.number == before.number + 1, f"count {after.number} after {before.number}"
        assert after.uptime_us > before.uptime_us, \
            f"count {after.number}: uptime_us {after.uptime_us} after {before.uptime_us}"
    return counts


def clock_step_us(source, target):
    """(step, uncertainty): how far the guest's clock stands from where it would be had it not
    moved. The least delayed lines of each side are compared, so that queues do not count. How
    much the least delay wanders while nothing moves, on a busy machine, is the uncertainty."""
    def least(console):
        delays = [count.seen_us - count.uptime_us for count in console.counts()]
        assert len(delays) >= 8, "too few counts to compare clocks"
        half = len(delays) // 2
        first, second = sorted(delays[:half]), sorted(delays[half:])
        wandered = abs(first[0] - second[0]) + max(first[1] - first[0], second[1] - second[0])
        return min(delays), wandered
    before, before_wandered = least(source)
    after, after_wandered = least(target)
    return before - after, before_wandered + after_wandered
