# SPDX-License-Identifier: Apache-2.0
"""The dirty ring instead of the dirty log: a guest moves all the same, also where rings fill up."""
import re

from harness.case import gateways
from harness.console import check_continuous
from harness.guest import Guest
from test_boot import refused, resident_kib
from test_dirty_rate import rate
from test_migrate import check_moved, listen, uri
from test_postcopy import check_pulled

RING = ("--dirty", "ring")
TINY = ("--dirty", "ring:256")  # a page: full after 192 pages


@gateways(2, long=True)
def test_moves_under_load(net):
    source = Guest(net[1], words="load=20@10", options=RING).boot()
    source.console.wait_for_load(1)
    target = listen(net[2])
    report = source.migrate(uri(net[2]), "--verify")
    check_moved(source, target, report)
    target.console.wait_for_load(2)  # each pass checks every page of the one before
    target.power_off()


@gateways(2)
def test_goes_first_and_its_memory_follows(net):
    source = Guest(net[1], words="load=12@30", options=TINY).boot()
    source.console.wait_for_load(1)
    target = listen(net[2], options=RING)
    check_pulled(source, target, source.migrate(uri(net[2]), "--postcopy"))
    target.power_off()


@gateways(2, smp=2, long=True)
def test_tiny_rings_fill_up_and_lose_nothing_there_and_back(net):
    source = Guest(net[1], words="load=12@30", cpus=2, options=TINY + ("--linger",)).boot()
    source.console.wait_for_load(1)
    middle = listen(net[2], cpus=2, options=TINY)
    report = source.migrate(uri(net[2]), "--downtime", "100ms", "--verify")
    assert report.code == 0 and report.verify == "equal", report
    status = source.status()
    assert status["dirty-mode"] == "dirty-ring" and status["dirty-ring-size"] == 256, status
    assert status["dirty-ring-full"] > 0, status
    print(f"     {status['dirty-ring-full']} times full in {report.total_ms} ms", flush=True)
    middle.console.wait_for_load(2)
    check_continuous(source.console, middle.console)
    net[1].check("godwit", "quit", source.name)

    target = Guest(net[1], name="back", cpus=2, incoming="tcp:0.0.0.0:4445").listen()
    report = middle.migrate(f"tcp:{net[1].address}:4445", "--downtime", "100ms", "--verify")
    check_moved(middle, target, report)
    target.console.wait_for_load(2)
    assert target.status()["dirty-mode"] == "dirty-bitmap"
    target.power_off()


@gateways(2, long=True)
def test_a_busy_guest_is_told_from_an_idle_one(net):
    idle = Guest(net[1], name="idle", options=RING).boot()
    idle.console.wait_for_counts(3)
    pages_idle = rate(net[1], idle, mode="dirty-ring")
    idle.power_off()
    busy = Guest(net[1], name="busy", words="load=12@60", options=TINY).boot()
    busy.console.wait_for_load(2)
    pages_busy = rate(net[1], busy, mode="dirty-ring")
    print(f"     idle {pages_idle}, busy {pages_busy} pages/s", flush=True)
    assert pages_busy > 500 and pages_busy > 4 * pages_idle, (pages_idle, pages_busy)
    assert busy.status()["dirty-ring-full"] > 0, busy.status()
    again = rate(net[1], busy, seconds=1, mode="dirty-ring")
    assert again > 4 * pages_idle, (pages_idle, again)
    busy.console.wait_for_load(2)
    resident = resident_kib(net[1].pull(f"/proc/{busy.status()['pid']}/smaps").decode())
    beside = sum(size for name, size in resident if "memfd:" not in name)
    print(f"     resident: {beside} KiB beside guest RAM", flush=True)
    assert beside <= 1024, resident
    busy.power_off()


@gateways(2)
def test_what_cannot_be_a_ring_gets_a_sentence(net):
    one = net[1]
    for entries in ("100", "128", "8192"):
        said = refused(one, 2, "--kernel", "/guest/Image", "--dirty", f"ring:{entries}")
        assert f"a dirty ring of {entries} entries: wanted" in said, said
    assert "wanted log, ring or ring:ENTRIES" in refused(one, 2, "--kernel", "/guest/Image",
                                                         "--dirty", "paper")
    said = one.check("godwit", "doctor")
    assert re.search(r"ok +dirty ring +up to 65536 entries a CPU", said), said
