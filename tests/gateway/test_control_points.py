# SPDX-License-Identifier: Apache-2.0
"""Where an operator has a word in a migration: the pause before the switchover, blockers, limits, and
what the monitor tells of it all."""
from signal import SIGCONT, SIGKILL, SIGSTOP

from harness.case import gateways
from harness.console import check_continuous
from harness.guest import MIGRATED_AWAY, Guest, Report
from test_migrate import check_moved, listen, uri


def boot(net):
    source = Guest(net[1], words="load=4@2").boot()
    source.console.wait_for_counts(3)
    return source, listen(net[2])


def cancel_while_it_waits(net, source):
    migration = source.start_migration(uri(net[2]), "--pause-before-switchover")
    source.expect_status("pre-switchover")
    net[1].check("godwit", "migrate-cancel", source.name)
    assert Report(migration.wait()).code == 5


@gateways(2)
def test_it_waits_for_a_word_before_the_switchover(net):
    source, target = boot(net)
    none = net[1].run("godwit", "migrate-continue", source.name)
    assert none.code == 1 and b"no migration" in none.error, none
    migration = source.start_migration(uri(net[2]), "--pause-before-switchover", "--verify")
    source.expect_status("pre-switchover")
    source.console.wait_for_counts(5)  # it runs on here, for as long as nobody says anything
    source.console.wait_for_load(2)
    assert not target.console.bytes
    net[1].check("godwit", "migrate-continue", source.name)
    report = Report(migration.wait(120))
    check_moved(source, target, report)
    rounds = report.last["__org.godwit"]["rounds"]
    assert [one["round"] for one in rounds] == list(range(1, report.rounds + 1)), rounds
    assert rounds[0]["sent"] > sum(one["sent"] for one in rounds[1:]) > 0, rounds
    assert "fit into the downtime limit" in source.said(), source.said()
    check_continuous(source.console, target.console)
    target.power_off()


@gateways(2)
def test_a_migration_that_waits_is_cancelled(net):
    source, target = boot(net)
    cancel_while_it_waits(net, source)
    source.command.wait_for_error(b"stays here")
    source.console.wait_for_counts(3)
    check_continuous(source.console)
    assert not target.console.bytes and not target.command.ended()
    check_moved(source, target, source.migrate(uri(net[2]), "--verify"))
    target.power_off()


@gateways(2)
def test_what_was_cancelled_is_nothing_to_settle(net):
    source, target = boot(net)
    cancel_while_it_waits(net, source)
    net[2].check("godwit", "quit", target.name)
    said = net[2].check("godwit", "resolve", target.name)
    assert "it never ran here and never will" in said and "possible" not in said, said
    once, again = (net[2].check("godwit", "resolve", target.name, "--give-up") for _ in range(2))
    assert "token: " in once and once == again, (once, again)
    source.power_off()


@gateways(2)
def test_a_guest_on_its_way_back_is_not_called_gone(net):
    source, target = boot(net)
    check_moved(source, target, source.migrate(uri(net[2]), "--verify"))
    back = listen(net[1])
    migration = target.start_migration(uri(net[1]), "--pause-before-switchover")
    target.expect_status("pre-switchover")
    back.command.kill(SIGKILL)
    back.command.wait(30)
    said = net[1].check("godwit", "resolve", back.name, code=6)
    assert "was on its way here when the monitor died" in said, said
    net[2].check("godwit", "migrate-cancel", target.name)
    assert Report(migration.wait()).code == 5
    target.power_off()


@gateways(2)
def test_who_looks_late_hears_how_it_ended(net):
    """The command that moves a guest stands still until the source's monitor is gone."""
    source, target = boot(net)
    migration = source.start_migration(uri(net[2]), "--pause-before-switchover", "--verify")
    source.expect_status("pre-switchover")
    migration.kill(SIGSTOP)
    net[1].check("godwit", "migrate-continue", source.name)
    source.wait(MIGRATED_AWAY)
    migration.kill(SIGCONT)
    check_moved(source, target, Report(migration.wait(120)))
    target.power_off()


@gateways(2)
def test_a_blocked_guest_stays_and_says_why(net):
    source, target = boot(net)
    net[1].check("godwit", "block", source.name, "firmware", "--reason", "its modem is being flashed")
    refused = source.migrate(uri(net[2]))
    assert refused.code == 1 and "flashed (godwit unblock guest firmware)" in refused.error, refused
    assert source.status()["migrate"]["blocked-reasons"] == ["firmware: its modem is being flashed"]
    assert "blocked    firmware: its modem" in net[1].check("godwit", "status", source.name)
    unknown = net[1].run("godwit", "unblock", source.name, "backup")
    assert unknown.code == 1 and b"no blocker 'backup'" in unknown.error, unknown
    net[1].check("godwit", "unblock", source.name, "firmware")
    migration = source.start_migration(uri(net[2]), "--pause-before-switchover", "--verify")
    source.expect_status("pre-switchover")
    late = net[1].run("godwit", "block", source.name, "late")
    assert late.code == 1 and b"is on its way" in late.error, late
    net[1].check("godwit", "migrate-continue", source.name)
    check_moved(source, target, Report(migration.wait(120)))
    target.power_off()
