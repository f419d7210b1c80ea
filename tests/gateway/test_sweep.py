# SPDX-License-Identifier: Apache-2.0
"""The bare-metal guest (tests/guest/sweep) knows what each page, register and timer must be at any
moment; whatever a move loses, it says."""
import re

from harness.case import gateways
from harness.console import Console
from harness.guest import Guest
from test_migrate import listen, uri

PASS = re.compile(r"^sweep: pass (\d+) ok cpu (\d+) cntvct (\d+) ticks (\d+) gap_us (\d+)")


def boot(gateway, **options):
    guest = Guest(gateway, flat="/guest/sweep.bin", memory="64M", **options)
    return guest.boot(ready="sweep: ready")


def check_swept(cpus, *consoles):
    """One history: each CPU's passes follow each other, its counter rises, nothing is lost."""
    joined = Console()
    for console in consoles:
        joined.feed(console.bytes)
    bad = [text for text, _ in joined.lines if "LOST" in text or "BAD" in text]
    assert not bad, bad[:5]
    passes = [tuple(map(int, match.groups())) for text, _ in joined.lines
              if (match := PASS.match(text))]
    for cpu in range(cpus):
        own = [entry for entry in passes if entry[1] == cpu]
        assert len(own) >= 2, f"cpu {cpu} swept {len(own)} times:\n{joined.tail()}"
        for before, after in zip(own, own[1:]):
            assert after[0] == before[0] + 1, f"cpu {cpu}: pass {after[0]} after {before[0]}"
            assert after[2] > before[2], f"cpu {cpu}: its counter went back at pass {after[0]}"
            assert after[3] >= before[3], f"cpu {cpu}: its ticks went back at pass {after[0]}"


def sweep_and_move(net, cpus):
    source = boot(net[1], cpus=cpus)
    source.console.wait_for_lines(" ok cpu 0 ", 2)
    target = listen(net[2], memory="64M", cpus=cpus)
    # Swept without pause, all of RAM is always dirty: the downtime limit must allow for that.
    report = source.migrate(uri(net[2]), "--verify", "--downtime", "20s")
    assert report.code == 0 and report.verify == "equal", report
    for cpu in range(cpus):
        target.console.wait_for_lines(f" ok cpu {cpu} ", 3)
    check_swept(cpus, source.console, target.console)
    target.command.send_input(b"q")
    target.wait(code=0)


@gateways(2, long=True)
def test_nothing_is_lost(net):
    sweep_and_move(net, cpus=1)


@gateways(2)
def test_nothing_is_lost_with_four_vcpus(net):
    sweep_and_move(net, cpus=4)


@gateways(2)
def test_a_guest_that_dies_ends_with_its_own_code(net):
    guest = boot(net[1])
    guest.command.send_input(b"x")
    guest.wait(code=22)
    assert guest.said(), "no sentence"
