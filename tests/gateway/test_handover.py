# SPDX-License-Identifier: Apache-2.0
"""The link is lost, or a side dies, exactly at a message of the handover (docs/HANDOVER.md).

A cutter stands between the gateways and cuts at one frame: before it, so that it is lost, or right
behind it. Then the link is mended, and the guest must run on exactly one side, with one history.
"""
from harness.case import gateways
from harness.console import check_continuous
from harness.guest import MIGRATED_AWAY, Guest, Report
from test_migrate import check_moved, listen, uri

CUTTER_PORT = 5555
BATCH, PREPARE, READY, COMMIT, RUNNING, DONE = 16, 32, 33, 35, 36, 37
SIGUSR1, SIGTERM, SIGSTOP = 10, 15, 19  # arm64's


class Cut:
    """A migration whose link is cut at one frame; `more` cuts follow, each after a mend()."""

    def __init__(self, net, frame, when, *options, words="", count=1, more=(), guest=None):
        self.net = net
        self.guest = guest or {}  # of both sides: memory, options
        self.cuts = 0
        plan = [word for cut in ((frame, when, count), *more) for word in cut]
        self.source = Guest(net[1], words=words, **self.guest).boot()
        self.source.console.wait_for_counts(5)
        self.target = listen(net[2], **self.guest)
        self.cutter = net[1].start("cutter", f"tcp:0.0.0.0:{CUTTER_PORT}", uri(net[2]), *plan,
                                    stdin=None)
        self.cutter.wait_for_output(b"listening")
        if "--postcopy" not in options:
            options += ("--verify",)
        self.migration = self.source.start_migration(f"tcp:127.0.0.1:{CUTTER_PORT}", *options)
        self.wait_for_cut()

    def wait_for_cut(self):
        self.cuts += 1
        self.cutter.wait_for_output(b"cut %d\n" % self.cuts)

    def mend(self):
        self.cutter.kill(SIGUSR1)
        self.cutter.wait_for_output(b"mended %d\n" % self.cuts)

    def restart_target(self):
        self.target.command.kill(9)
        self.target.command.wait()
        self.target = listen(self.net[2], **self.guest)

    def report(self):
        return Report(self.migration.wait(120))

    def expect_moved(self):
        check_moved(self.source, self.target, self.report())
        self.target.power_off()

    def expect_resumed(self):
        """The guest ran on at the source meanwhile; then the migration went on from where it was."""
        self.source.console.wait_for_counts(5)
        assert not self.target.console.bytes, "the target ran a guest that was not committed"
        assert "link-lost" in str(self.source.status()["migrate"]), self.source.status()
        self.mend()
        report = self.report()
        check_moved(self.source, self.target, report)
        check_continuous(self.source.console, self.target.console)
        assert report.resumes == 1, report
        said = self.source.said()
        assert "the link is tried again" in said and "the link is back" in said, said
        # At most the window that was not acknowledged is sent again (docs/WIRE.md).
        assert report.resent_bytes <= 64 * 256 * 1024, report
        print(f"     resumed: {report.resent_bytes >> 10} KiB sent again of "
              f"{report.transferred_bytes >> 10}", flush=True)
        self.target.power_off()

    def expect_stayed(self):
        """The guest never left; and a second try, straight to the target, moves it."""
        report = self.report()
        assert report.code in (1, 4, 5), report
        self.source.command.wait_for_error(b"stays here")
        self.source.console.wait_for_counts(5)
        check_continuous(self.source.console)
        report = self.source.migrate(uri(self.net[2]), "--verify")
        check_moved(self.source, self.target, report)
        self.target.power_off()

    def expect_held(self):
        """Neither side runs it, and both say so."""
        for side in self.source, self.target:
            status = side.status()
            assert "held" in str(status), status
        silent = len(self.source.console.bytes)
        refused = self.net[1].run("godwit", "quit", self.source.name)
        assert refused.code == 1 and b"resolve" in refused.error, refused
        assert len(self.source.console.bytes) == silent, "the held guest ran on the source"


@gateways(2)
def test_cut_in_the_first_round(net):
    Cut(net, BATCH, "before", words="load=20@10", count=60).expect_resumed()


@gateways(2)
def test_prepare_lost(net):
    Cut(net, PREPARE, "before", words="load=20@10").expect_resumed()


@gateways(2, long=True)
def test_cut_behind_prepare(net):
    Cut(net, PREPARE, "after").expect_resumed()


@gateways(2)
def test_ended_in_the_handover(net):
    """Whoever ends the source then ends a guest that never left: the next boot is not refused."""
    source = Guest(net[1]).boot()
    target = listen(net[2])
    migration = source.start_migration(uri(net[2]), "--pause-before-switchover")
    source.expect_status("pre-switchover")
    target.command.kill(SIGSTOP)  # it answers nothing from here on
    net[2].shell("until grep -q '^State:.T' /proc/$(pidof godwit)/status; do usleep 20000; done")
    net[1].check("godwit", "migrate-continue", source.name)
    source.expect_state("finish-migrate")
    migration.kill(9)
    migration.wait()
    source.command.kill(SIGTERM)
    source.wait(0)
    told = net[1].check("godwit", "resolve", source.name)
    assert "no record says that it ever left" in told, told


@gateways(2)
def test_a_target_that_was_told_to_quit_takes_no_guest(net):
    """It is there for as long as it has a client that reads its last word, a second at most."""
    source, target = Guest(net[1]).boot(), listen(net[2])
    client = net[2].start("talk", f"/run/godwit/{target.name}.sock", stdin=None)
    client.send_input(b'{"execute":"qmp_capabilities","id":"begin"}\n')
    client.wait_for_output(b'"begin"')
    source.start_migration(uri(net[2]), "--pause-before-switchover", "--retry", "1s")
    source.expect_status("pre-switchover")
    net[2].start("godwit", "quit", target.name)
    client.wait_for_output(b"SHUTDOWN")
    net[1].check("godwit", "migrate-continue", source.name)
    source.command.wait_for_error(b"stays here")
    target.wait(0)
    source.console.wait_for_counts(5)
    check_continuous(source.console)
    assert not target.console.bytes, "it took the guest, and ended with it"
    source.power_off()


@gateways(2)
def test_ready_lost(net):
    Cut(net, READY, "before").expect_resumed()


@gateways(2, long=True)
def test_ready_lost_and_not_tried_again(net):
    cut = Cut(net, READY, "before", "--retry", "0s")
    cut.mend()
    cut.expect_stayed()


@gateways(2)
def test_commit_lost(net):
    cut = Cut(net, COMMIT, "before", words="load=20@10")
    cut.expect_held()
    assert not cut.target.console.bytes, "the target ran a guest that was not committed"
    cut.mend()
    cut.expect_moved()


@gateways(2)
def test_cut_behind_commit(net):
    cut = Cut(net, COMMIT, "after", words="load=20@10")
    cut.expect_held()
    cut.mend()
    cut.expect_moved()


@gateways(2)
def test_running_lost(net):
    cut = Cut(net, RUNNING, "before")
    cut.expect_held()
    cut.mend()
    cut.expect_moved()


@gateways(2)
def test_done_lost(net):
    cut = Cut(net, DONE, "before")
    cut.mend()
    cut.expect_moved()


@gateways(2)
def test_target_killed_with_commit_lost(net):
    """It never ran there: its records say so, and the source goes on."""
    cut = Cut(net, COMMIT, "before")
    cut.expect_held()
    cut.restart_target()
    cut.mend()
    cut.expect_stayed()


@gateways(2)
def test_what_never_came_does_not_hide_that_it_left(net):
    """A guest that was on its way there once, and is another's by now: its own departure counts."""
    source, target = Guest(net[1]).boot(), listen(net[2])
    source.start_migration(uri(net[2]), "--bandwidth", "1M", "--precopy", "--retry", "0s")
    target.expect_status("active")
    target.command.kill(9)
    target.command.wait()
    source.command.wait_for_error(b"stays here")
    source.power_off()
    source, target = Guest(net[2]).boot(), listen(net[1])
    assert source.migrate(uri(net[1])).code == 0
    source.wait(MIGRATED_AWAY)
    told = net[2].run("godwit", "resolve", source.name)
    assert b"it moved to" in told.output + told.error, told
    target.power_off()


@gateways(2)
def test_target_killed_behind_commit(net):
    """It ran there and died with its host, as on any host. It never runs again on the source."""
    cut = Cut(net, COMMIT, "after")
    cut.target.console.wait_for_counts(3)
    cut.restart_target()
    cut.mend()
    report = cut.report()
    assert report.code == 0 and report.status == "completed", report
    cut.source.wait(MIGRATED_AWAY)
    refused = net[1].run("godwit", "run", "--name", cut.source.name, "--kernel", "/guest/Image")
    assert refused.code == 2 and b"moved to" in refused.error, refused


@gateways(2)
def test_resolved_by_token_on_the_source(net):
    cut = Cut(net, COMMIT, "before")
    cut.expect_held()
    for side, guest in (net[1], cut.source), (net[2], cut.target):  # its own to settle, not a file's
        for words in ["--give-up"], ["--run", "--other-is-dead"]:
            refused = side.run("godwit", "resolve", guest.name, *words, "--control", "/tmp/none.sock")
            assert refused.code == 1 and b"it does not answer" in refused.error, refused
    cut.expect_held()
    given_up = net[2].check("godwit", "resolve", cut.target.name, "--give-up")
    token = given_up.split("token: ")[1].split()[0]
    own = net[2].run("godwit", "resolve", cut.target.name, "--run", token)
    assert own.code == 1, own
    net[1].check("godwit", "resolve", cut.source.name, "--run", token)
    cut.expect_stayed()


@gateways(2)
def test_resolved_by_token_on_the_target(net):
    cut = Cut(net, COMMIT, "before")
    cut.expect_held()
    given_up = net[1].check("godwit", "resolve", cut.source.name, "--give-up")
    token = given_up.split("token: ")[1].split()[0]
    net[2].check("godwit", "resolve", cut.target.name, "--run", token)
    cut.target.console.wait_for_counts(5)
    check_continuous(cut.source.console, cut.target.console)
    cut.source.wait(MIGRATED_AWAY)


@gateways(2)
def test_source_killed_with_commit_lost(net):
    """The target has all of it: its operator, who knows that the source is dead, saves it."""
    cut = Cut(net, COMMIT, "before")
    cut.source.command.kill(9)
    cut.source.command.wait()
    refused = net[2].run("godwit", "cont", cut.target.name)
    assert refused.code == 1 and b"resolve" in refused.error, refused
    net[2].check("godwit", "resolve", cut.target.name, "--run", "--other-is-dead")
    cut.target.console.wait_for_counts(5)
    check_continuous(cut.source.console, cut.target.console)
