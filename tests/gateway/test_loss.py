# SPDX-License-Identifier: Apache-2.0
"""Links that break and processes that die: the guest runs on exactly one side."""
from harness.case import gateways
from harness.console import check_continuous
from harness.guest import MIGRATED_AWAY, Guest, Report
from test_migrate import check_moved, listen, uri


def start_slow(net, *wishes, words="load=20@10", bandwidth="8M", **options):
    """A migration that is under way and will stay so for a while."""
    source = Guest(net[1], words=words, **options).boot()
    source.console.wait_for_counts(5)
    target = listen(net[2])
    migration = source.start_migration(uri(net[2]), "--bandwidth", bandwidth, "--verify",
                                       *wishes)
    migration.wait_for_output(b'"active"')
    return source, target, migration


@gateways(2)
def test_target_killed_before_the_handover(net):
    source, target, migration = start_slow(net, "--retry", "2s")
    target.command.kill(9)
    report = Report(migration.wait(120))
    assert report.code == 1 and report.error, report
    source.console.wait_for_counts(10)
    check_continuous(source.console)
    target = listen(net[2])
    check_moved(source, target, source.migrate(uri(net[2]), "--verify"))
    target.power_off()


@gateways(2)
def test_source_killed_before_the_handover(net):
    source, target, _ = start_slow(net)
    source.command.kill(9)
    source.command.wait()
    # The guest's host died, as any host may. The target never ran it, and says so and waits.
    net[2].check("godwit", "status", target.name)
    assert not target.console.bytes, target.console.bytes
    assert not target.command.ended(), target.said()
    second = Guest(net[1], name="second").boot()
    report = second.migrate(uri(net[2]), "--verify")
    check_moved(second, target, report)
    target.power_off()


def check_cut_and_mended(net, source, target, migration):
    """The guest runs on here while the link is gone, and moves when it is back."""
    net.link(False)
    source.command.wait_for_error(b"the link is tried again")
    target.command.wait_for_error(b"is waited for")
    source.console.wait_for_counts(20)
    assert not target.console.bytes
    net.link(True)
    report = Report(migration.wait(180))
    check_moved(source, target, report)
    assert report.resumes >= 1, report
    target.power_off()


@gateways(2)
def test_link_cut_in_precopy_and_mended(net):
    check_cut_and_mended(net, *start_slow(net, "--channels", "4", bandwidth="16M"))


@gateways(2)
def test_link_cut_after_the_move(net):
    source = Guest(net[1]).boot()
    source.console.wait_for_counts(5)
    target = listen(net[2])
    report = source.migrate(uri(net[2]), "--verify")
    assert report.code == 0, report
    source.wait(MIGRATED_AWAY)  # only then the target knows that it does
    net.link(False)
    target.console.wait_for_counts(10)
    check_continuous(source.console, target.console)
    target.power_off()


@gateways(2)
def test_link_cut_at_the_switchover(net):
    """The cable is out as the handover begins, and back when the source has noticed: one history. (The
    simulator, and test_handover, cut at every message of it.)"""
    source, target, migration = start_slow(net, "--pause-before-switchover", words="", bandwidth="200M")
    source.expect_status("pre-switchover")
    net.link(False)
    net[1].check("godwit", "migrate-continue", source.name)
    source.expect_error("link-lost")
    assert not target.console.bytes, target.console.bytes
    net.link(True)
    report = Report(migration.wait(180))
    check_moved(source, target, report)
    assert report.resumes >= 1, report
    target.power_off()
