# SPDX-License-Identifier: Apache-2.0
"""A guest goes first and its memory follows: at once, in the middle, at a deadline; over links that
break, with sides that die (docs/HANDOVER.md)."""
from harness.case import gateways
from harness.console import check_continuous
from harness.guest import MIGRATED_AWAY, Guest, Report
from test_handover import BATCH, COMMIT, DONE, PREPARE, READY, RUNNING, Cut
from test_migrate import listen, uri

MISSING, RECEIVED, DEMAND, COMPLETE = 21, 22, 23, 39
LOAD = "load=20@10"
# Precopy is never done on it: the handover alone takes longer than that, however slow the guest.
NEVER_DONE = ("--bandwidth", "8M", "--downtime", "1ms", "--compress", "none", "--full-speed",
              "--precopy")
LOST = 7


def check_pulled(source, target, report):
    """After a postcopy: all of RAM there, the source gone, one history, and the guest's own check of
    every page that its load wrote."""
    assert report.code == 0 and report.status == "completed", report
    assert report.last["__org.godwit"]["postcopy"]["sent"] > 0, report
    target.console.wait_for_counts(5)
    target.console.wait_for_load(3)
    source.wait(MIGRATED_AWAY)
    check_continuous(source.console, target.console)
    told = target.status()["migrate"]
    own = told["__org.godwit"]["postcopy"]
    assert told["status"] == "completed" and own["missing"] == 0 and own["faults"] > 0, told
    assert own["min-us"] <= own["p50-us"] <= own["p99-us"] <= own["max-us"], own
    assert told["postcopy-blocktime"] <= own["time"], told
    ours = report.last["__org.godwit"]["postcopy"]  # as of COMPLETE, unless the link broke then
    assert ours.get("faults", 0) <= own["faults"], (ours, own)
    print(f"     downtime {report.downtime_ms:.0f} ms, blocktime {told['postcopy-blocktime']} of "
          f"{own['time']} ms, {own['faults']} faults: p50 {own['p50-us']} us, p99 {own['p99-us']} us",
          flush=True)


def boot(net, words=LOAD, **options):
    source = Guest(net[1], words=words, **options).boot()
    source.console.wait_for_load(1)
    return source, listen(net[2], **options)


@gateways(2)
def test_at_once(net):
    source, target = boot(net, cpus=2)
    check_pulled(source, target, source.migrate(uri(net[2]), "--postcopy", "--channels", "2"))
    blocked = target.status()["migrate"]["postcopy-vcpu-blocktime"]
    assert len(blocked) == 2 and max(blocked) > 0, blocked
    target.power_off()


@gateways(2)
def test_in_the_middle(net):
    """Precopy first, on a link that it would never be done on; then the operator switches. What lacks
    then is little, and comes slowly enough that the guest must ask for some of it."""
    source, target = boot(net, words="load=1@60")
    migration = source.start_migration(uri(net[2]), *NEVER_DONE, "--postcopy-bandwidth", "256K")
    source.worsen_link()
    migration.wait_for_output(b'"dirty-sync-count":3', timeout=120)
    net[1].check("godwit", "migrate-postcopy", source.name)
    report = Report(migration.wait(180))
    check_pulled(source, target, report)
    assert report.rounds >= 3, report
    target.power_off()


@gateways(2)
def test_at_the_deadline(net):
    source, target = boot(net)
    # All of what is not zero alone takes longer than 7 s of these 9.
    report = source.migrate(uri(net[2]), *NEVER_DONE, "--deadline", "9s",
                            "--on-deadline", "postcopy")
    assert "the deadline is near" in source.said(), source.said()
    check_pulled(source, target, report)
    target.power_off()


@gateways(2, long=True)
def test_it_moves_back_and_forth(net):
    guest = Guest(net[1], name="traveller", words=LOAD).boot()
    guest.console.wait_for_load(1)
    consoles = [guest.console]
    for number in range(4):
        there = net[2 - number % 2]
        target = listen(there, name="traveller")
        check_pulled(guest, target, guest.migrate(uri(there), "--postcopy"))
        guest = target
        consoles.append(guest.console)
    check_continuous(*consoles)
    guest.power_off()


class PostcopyCut(Cut):
    """A postcopy whose link is cut at one frame after the other, and mended each time. The first
    DEMAND may come before RUNNING: where a test looks at the source, RUNNING is let through first.
    """

    def __init__(self, net, first, *more, words=LOAD, options=(), guest=None):
        frame, when, count = first
        super().__init__(net, frame, when, "--postcopy", *options, words=words, count=count,
                         more=more, guest=guest)

    def expect_pulled(self):
        self.mend()
        check_pulled(self.source, self.target, self.report())
        self.target.power_off()

    def expect_kept(self):
        """The guest runs on here; nothing of it runs there."""
        self.source.console.wait_for_counts(3)
        assert not self.target.console.bytes, "the target ran a guest that was not committed"

    def expect_parted(self):
        """It runs there, until it needs a page that only the source has."""
        self.source.expect_status("postcopy-paused", "postcopy-recover")
        self.target.expect_status("postcopy-paused")

    def go_on(self):
        self.mend()
        self.wait_for_cut()


@gateways(2)
def test_links_lost_on_the_way_to_the_switch(net):
    """At five messages of one handover."""
    cut = PostcopyCut(net, (MISSING, "before", 1), (PREPARE, "before", 1), (READY, "before", 1),
                      (COMMIT, "before", 1), (RUNNING, "before", 1))
    for _ in range(3):
        cut.expect_kept()
        cut.go_on()
    cut.expect_held()
    cut.go_on()
    cut.expect_pulled()


@gateways(2)
def test_links_lost_while_it_runs_there(net):
    """At eight moments of one postcopy: each costs a pause. Pages are pushed slowly enough for so many
    faults; the source's DONE is lost once."""
    cut = PostcopyCut(net, (RUNNING, "after", 1), (DEMAND, "before", 1), (RECEIVED, "before", 1),
                      (DEMAND, "after", 10), (BATCH, "before", 30), (BATCH, "after", 10),
                      (COMPLETE, "before", 1), (DONE, "before", 1),
                      options=("--postcopy-bandwidth", "8M"))
    cut.expect_parted()
    refused = net[1].run("godwit", "quit", cut.source.name)
    assert refused.code == 1 and b"needs the memory" in refused.error, refused
    refused = net[1].run("godwit", "migrate-cancel", cut.source.name)
    assert refused.code == 1 and b"runs on the target" in refused.error, refused
    for _ in range(7):
        cut.go_on()
    cut.expect_pulled()
    said = cut.source.said()
    assert "the link is tried again" in said and "the link is back" in said, said


@gateways(2, long=True)
def test_links_lost_with_four_bulk_channels(net):
    cut = PostcopyCut(net, (MISSING, "before", 1), (COMMIT, "after", 1), (BATCH, "after", 30),
                      (DEMAND, "after", 5), options=("--channels", "4"))
    for _ in range(3):
        cut.go_on()
    cut.expect_pulled()


@gateways(2)
def test_it_ends_before_its_memory_is_there(net):
    """A guest that powers off ended well, whatever lay where: its source hears that it ran there."""
    source, target = boot(net)
    migration = source.start_migration(uri(net[2]), "--postcopy", "--postcopy-bandwidth", "1M")
    target.console.wait_for_counts(3)
    target.type("poweroff")
    target.command.wait_for_error(b"ended before its source has settled")
    target.expect_state("shutdown")
    source.set_parameters({"max-postcopy-bandwidth": 0})
    report = Report(migration.wait(120))
    assert report.code == 0 and report.status == "completed", report
    target.wait(0)
    source.wait(MIGRATED_AWAY)


@gateways(2)
def test_let_go_and_recovered_by_hand(net):
    """The operator's client may come and go: the monitors know how it stands."""
    source, target = boot(net)
    migration = source.start_migration(uri(net[2]), "--postcopy", "--postcopy-bandwidth", "4M")
    source.expect_status("postcopy-active")
    migration.kill(9)
    migration.wait()
    net[1].check("godwit", "migrate-pause", source.name)
    source.expect_status("postcopy-paused")
    target.expect_status("postcopy-paused")
    waits = net[1].run("godwit", "migrate-pause", source.name)
    assert waits.code == 1 and waits.error, waits
    source.execute("migrate", {"uri": uri(net[2]), "resume": True})
    target.console.wait_for_load(3)
    target.expect_status("completed", timeout=120)
    source.wait(MIGRATED_AWAY)
    check_continuous(source.console, target.console)
    assert target.status()["migrate"]["__org.godwit"]["postcopy"]["recoveries"] == 1
    target.power_off()


def killed_target(net):
    cut = PostcopyCut(net, (BATCH, "before", 30))
    cut.expect_parted()
    cut.restart_target()
    cut.mend()
    shown = net[2].run("godwit", "resolve", cut.target.name)
    cut.source.expect_error("the guest is lost there")
    return cut, shown


@gateways(2)
def test_target_killed_while_it_lacks_memory(net):
    """The guest is lost, and the source says so; its operator ends the waiting."""
    cut, _ = killed_target(net)
    net[1].check("godwit", "resolve", cut.source.name, "--give-up")
    report = cut.report()
    assert report.code == LOST and "given up" in report.error, report
    cut.source.wait(LOST)
    refused = net[1].run("godwit", "run", "--name", cut.source.name, "--kernel", "/guest/Image")
    assert refused.code == 2 and b"moved to" in refused.error, refused


@gateways(2)
def test_target_killed_and_the_copy_here_runs_again(net):
    """What it did over there is undone: only an operator may want that, and say so."""
    cut, _ = killed_target(net)
    token = net[2].run("godwit", "resolve", cut.target.name, "--give-up")
    assert token.code == 1, token
    net[1].check("godwit", "resolve", cut.source.name, "--run", "--other-is-dead")
    assert cut.report().code == 1
    cut.source.console.wait_for_counts(5)
    cut.source.console.wait_for_load(3)
    cut.source.power_off()


@gateways(2)
def test_source_killed_while_memory_is_only_there(net):
    cut = PostcopyCut(net, (BATCH, "before", 30))
    cut.expect_parted()
    cut.source.command.kill(9)
    cut.mend()
    refused = net[2].run("godwit", "resolve", cut.target.name, "--run", "--other-is-dead")
    assert refused.code == 1 and b"only on the source" in refused.error, refused
    assert net[2].run("godwit", "quit", cut.target.name).code == 1
    net[2].check("godwit", "resolve", cut.target.name, "--give-up")
    cut.target.wait(LOST)
    assert "is lost" in cut.target.said(), cut.target.said()


@gateways(2, long=True)
def test_it_cannot_be_verified_while_it_runs(net):
    source, target = boot(net)
    report = source.migrate(uri(net[2]), "--postcopy", "--verify")
    assert report.code == 2 and "--verify" in report.error, report
    none = net[1].run("godwit", "migrate-postcopy", source.name)
    assert none.code == 1 and b"no migration" in none.error, none
    check_pulled(source, target, source.migrate(uri(net[2]), "--postcopy"))
    target.power_off()
