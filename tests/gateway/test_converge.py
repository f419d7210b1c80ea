# SPDX-License-Identifier: Apache-2.0
"""A guest that dirties memory faster than the link carries it moves all the same, or by its deadline."""
from harness.case import gateways
from harness.console import check_continuous
from harness.guest import Guest, Report
from test_migrate import check_moved, listen, uri

# 12 MB over and over, at several times what the link is allowed to carry: by itself, never over.
LOAD = "load=12@60"
LINK = ("--bandwidth", "8M", "--downtime", "1ms", "--compress", "none")
# To be made worse by worsen_link(): then even this load, of 1 MB, is more than it carries.
FAST_LINK = ("--bandwidth", "16M", "--compress", "none", "--downtime", "1ms")
SMALL_LOAD = "load=1@60"


def boot(net, words=LOAD):
    source = Guest(net[1], words=words).boot()
    source.console.wait_for_load(2)
    return source, listen(net[2])


@gateways(2)
def test_a_guest_that_is_too_fast_is_slowed_down(net):
    source, target = boot(net, SMALL_LOAD)
    migration = source.start_migration(uri(net[2]), *FAST_LINK, "--verify")
    source.worsen_link(downtime_ms=300)
    report = Report(migration.wait(180))
    check_moved(source, target, report)
    percent = [line.get("cpu-throttle-percentage", 0) for line in report.lines]
    assert max(percent) >= 20, percent
    assert "its CPUs lose 20% of their time" in source.said(), source.said()
    target.console.wait_for_load(2)  # it checks every page of the pass before
    check_continuous(source.console, target.console)
    target.power_off()


@gateways(2, long=True)
def test_a_slowed_guest_that_stays_has_its_speed_back(net):
    source, target = boot(net, SMALL_LOAD)
    migration = source.start_migration(uri(net[2]), *FAST_LINK)
    source.worsen_link(downtime_ms=10)
    migration.wait_for_output(b'"cpu-throttle-percentage"')
    net[1].check("godwit", "migrate-cancel", source.name)
    assert Report(migration.wait()).code == 5
    source.console.wait_for_load(3)
    assert "cpu-throttle-percentage" not in source.status()["migrate"], source.status()
    check_continuous(source.console)
    source.power_off()
    assert not target.command.ended(), target.said()


@gateways(2)
def test_left_to_itself_it_lets_a_guest_go_first_that_is_too_fast(net):
    source, target = boot(net, SMALL_LOAD)
    migration = source.start_migration(uri(net[2]), *FAST_LINK, "--full-speed")
    source.worsen_link(downtime_ms=10)
    report = Report(migration.wait(180))
    assert report.code == 0 and report.status == "completed", report
    assert report.last["__org.godwit"]["postcopy"]["sent"] > 0, report
    said = source.said()
    assert "KiB/s, the link takes " in said, said
    assert "it goes first, and the rest of its memory follows (postcopy)" in said, said
    target.console.wait_for_load(2)
    check_continuous(source.console, target.console)
    target.power_off()


@gateways(2)
def test_left_to_itself_it_keeps_to_a_deadline(net):
    """All of its memory is there in time, which takes most of that; there is none for rounds."""
    source, target = boot(net)
    report = source.migrate(uri(net[2]), *LINK, "--full-speed", "--deadline", "9s")
    assert report.code == 0 and report.status == "completed", report
    assert report.last["__org.godwit"]["postcopy"]["sent"] > 0, report
    assert "the deadline is near" in source.said(), source.said()
    print(f"     {report.total_ms} ms in all, 9000 wanted at most", flush=True)
    target.console.wait_for_load(2)
    check_continuous(source.console, target.console)
    target.power_off()


@gateways(2)
def test_the_deadline_is_met_by_standing_still(net):
    source, target = boot(net)
    report = source.migrate(uri(net[2]), *LINK, "--full-speed", "--verify", "--deadline", "12s",
                            "--on-deadline", "stop-and-copy")
    check_moved(source, target, report)
    assert "they go while the guest stands still" in source.said(), source.said()
    assert all("cpu-throttle-percentage" not in line for line in report.lines), report
    target.power_off()


@gateways(2)
def test_the_deadline_cancels_and_the_guest_stays(net):
    source, target = boot(net)
    report = source.migrate(uri(net[2]), *LINK, "--full-speed", "--precopy", "--deadline", "6s")
    assert report.code == 5 and report.status == "cancelled", report
    source.command.wait_for_error(b"the deadline of 6000 ms passed")
    source.console.wait_for_load(2)
    check_continuous(source.console)
    assert not target.console.bytes and not target.command.ended()
    source.power_off()
