# SPDX-License-Identifier: Apache-2.0
"""A guest goes on in a new godwit process of the same gateway, and notices a few milliseconds.

Its console is a Unix socket with one client that stays: what that sees must be one history,
whichever process runs the guest. The control socket has such a client too.
"""
import statistics

from harness import images, log
from harness.case import gateways
from harness.console import check_continuous
from harness.guest import MIGRATED_AWAY, Guest, Report
from test_boot import resident_kib
from test_migrate import listen, uri
from test_pages import HUGE, free_pages, huge_pages

SOCKET = "/run/godwit/guest.sock"
CONSOLE = "/tmp/console.sock"
CONSOLE_FILE = "/tmp/console.txt"
REFUSED, CANCELLED, HELD, LOST, MONITOR_ERROR, KILLED = 4, 5, 6, 7, 23, 137
READY, COMMIT, DONE = 33, 35, 37  # frames
WITHDRAW = 3  # a parcel


class Upgradable(Guest):
    """under: words in front of `godwit run`. is_file: the console is a file instead, which nobody's
    death closes."""

    def __init__(self, host, under=(), is_file=False, **options):
        super().__init__(host, console=CONSOLE_FILE if is_file else f"unix:{CONSOLE}", **options)
        self._under, self._is_file = under, is_file
        self.viewer = None

    def start(self):
        self.command = self.host.start(*self._under, "godwit", "run", *self._arguments, stdin=None)
        self.host.shell(f"until [ -e {CONSOLE_FILE if self._is_file else CONSOLE} ]; "
                        "do usleep 10000; done")
        follow = ["tail", "-n", "+1", "-f", CONSOLE_FILE] if self._is_file else ["talk", CONSOLE]
        self.viewer = self.host.start(
            *follow, stdin=None,
            on_output=lambda kind, data: self.console.feed(data) if kind == "O" else None,
            on_end=self.console.end)
        return self

    def type(self, line):
        self.viewer.send_input(line.encode() + b"\n")

    def upgrade(self, *options):
        """Report of `godwit upgrade`, whatever came of it."""
        report = Report(self.host.run("godwit", "upgrade", self.name, "--json", *options))
        log.write(f"upgrade {self.name}: {report}")
        return report

    def check_upgraded(self, *options):
        report = self.upgrade(*options)
        assert report.code == 0 and report.status == "completed", report
        return report

    def check_kept(self, pid, counts=3):
        """The old process still has it, and another upgrade succeeds."""
        assert self.status()["pid"] == pid, self.status()
        self.console.wait_for_counts(counts)
        self.check_upgraded()
        self.check_alive()

    def check_alive(self, counts=3):
        self.console.wait_for_counts(counts)
        check_continuous(self.console)
        if not self._is_file:
            self.type("echo still here")
            self.console.wait_for_line("echo: still here")

    def power_off(self, timeout=60):
        if self._is_file:
            self.host.check("godwit", "quit", self.name)
            self.viewer.kill(9)
        else:
            self.type("poweroff")
            self.viewer.wait(timeout)

    def script(self, text):
        """A program for --binary."""
        self.host.push(b"#!/bin/sh\n" + text.encode() + b"\n", "/tmp/binary", mode="755")
        return "/tmp/binary"

    def slain_new(self, what, number, when):
        """A new godwit that dies at one exact moment."""
        return self.script(f'exec slay {what} {number} {when} /bin/godwit "$@"')


class Control:
    """One control connection, held all the time."""

    def __init__(self, host):
        self._talk = host.start("talk", SOCKET, stdin=None)
        self._talk.wait_for_output(b"QMP")
        self._talk.send_input(b'{"execute":"qmp_capabilities","id":"begin"}\n')
        self._talk.wait_for_output(b'"begin"')

    def ask(self, name):
        """Returns all that was heard up to the answer."""
        self._talk.send_input(b'{"execute":"query-status","id":"%s"}\n' % name.encode())
        return self._talk.wait_for_output(b'"id": "%s"' % name.encode())

    def ask_half(self, name):
        """The first half of a question; the second is asked later."""
        self._talk.send_input(b'{"execute":"query-st')
        return lambda: (self._talk.send_input(b'atus","id":"%s"}\n' % name.encode()),
                        self._talk.wait_for_output(b'"id": "%s"' % name.encode()))


def check_boots_anew(host):
    """No record says that the guest is elsewhere."""
    again = Guest(host).boot()
    again.console.wait_for_counts(2)
    again.power_off()


@gateways(1)
def test_twenty_times_in_a_row(net):
    guest = Upgradable(net[1], words="load=20@10").boot()
    control = Control(net[1])
    guest.console.wait_for_counts(3)
    told, pids = [], [guest.status()["pid"]]
    for number in range(20):
        rest_of_question = control.ask_half(f"half {number}")
        told.append(guest.check_upgraded().downtime_ms)
        rest_of_question()
        control.ask(f"whole {number}")
        pids.append(guest.status()["pid"])
        guest.console.wait_for_counts(2)
    guest.wait(MIGRATED_AWAY)
    assert len(set(pids)) == 21, pids
    heard = control.ask("end")
    assert heard.count(b'"STOP"') == heard.count(b'"RESUME"') == 20, heard
    resident = resident_kib(net[1].pull(f"/proc/{pids[-1]}/smaps").decode())
    beside = sum(size for name, size in resident if "memfd:" not in name)
    assert beside <= 1024, (beside, resident)
    guest.console.wait_for_load(2)  # each pass checks every page of the one before
    counts = check_continuous(guest.console)
    usual, largest = statistics.median(c.gap_us for c in counts), max(c.gap_us for c in counts)
    log.write(f"downtime told: {min(told):.1f} to {max(told):.1f} ms, median "
              f"{statistics.median(told):.1f}; the guest's gaps: median {usual / 1000:.1f} ms, "
              f"largest {largest / 1000:.1f} ms")
    print(f"20 upgrades: downtime {statistics.median(told):.1f} ms (largest {max(told):.1f}); "
          f"guest's own gap: {usual / 1000:.1f} ms usual, {largest / 1000:.1f} ms largest; "
          f"{beside} KiB beside guest RAM")
    refused = net[1].run("godwit", "run", "guest", "--kernel", "/guest/Image",
                         "--console", "/tmp/other")
    assert refused.code == 2 and b"guest is here already: godwit status guest" in refused.error, refused
    guest.check_alive()
    guest.power_off()
    net[1].shell("while pidof godwit; do usleep 10000; done; ! ls /run/godwit/*.next")
    check_boots_anew(net[1])


@gateways(1, long=True)
def test_the_new_one_has_smaller_limits(net):
    guest = Upgradable(net[1]).boot()
    net[1].push(images.small_godwit(), "/tmp/small", mode="755")
    pid = guest.status()["pid"]
    report = guest.upgrade("--binary", "/tmp/small")
    assert report.code == REFUSED and "board sim takes at most 1048576" in report.error, report
    guest.check_kept(pid)
    guest.power_off()


@gateways(1)
def test_what_is_no_godwit_takes_no_guest(net):
    guest = Upgradable(net[1]).boot()
    pid = guest.status()["pid"]
    bare = net[1].check("talk", SOCKET, stdin=b'{"execute":"qmp_capabilities"}\n'
                                              b'{"execute":"__org.godwit_upgrade"}\n')
    assert "no socket of a new process came with the command" in bare, bare
    missing = guest.upgrade("--binary", "/tmp/missing")
    assert missing.code == 2 and "/tmp/missing cannot be started" in missing.error, missing
    other = guest.upgrade("--binary", "/bin/false")
    assert other.code == 1 and "ended before it answered" in other.error, other
    garbage = guest.upgrade("--binary", guest.script('eval "echo garbage >&${4#fd:}"'))
    assert garbage.code == 1 and "no message of godwit" in garbage.error, garbage
    guest.check_kept(pid)
    guest.power_off()


@gateways(1)
def test_one_that_does_not_answer_is_cancelled(net):
    guest = Upgradable(net[1]).boot()
    pid = guest.status()["pid"]
    silent = guest.script("echo >/tmp/started; exec sleep 3600")
    upgrade = net[1].start("godwit", "upgrade", "guest", "--binary", silent)
    net[1].wait_for_text("/tmp/started", "\n")
    guest.expect_status("setup")
    again, away = guest.upgrade(), guest.migrate("tcp:127.0.0.1:1")
    assert again.code == 1 and "an upgrade is under way" in again.error, again
    assert away.code == 1 and "an upgrade is under way" in away.error, away
    net[1].check("godwit", "migrate-cancel", "guest")
    assert upgrade.wait().code == CANCELLED
    net[1].shell("killall sleep")
    guest.check_kept(pid)
    guest.power_off()


@gateways(1)
def test_the_new_one_dies_before_it_is_ready(net):
    guest = Upgradable(net[1]).boot()
    for what, number in (("rename", 1), ("rename", 2), ("frame", READY)):
        pid = guest.status()["pid"]
        report = guest.upgrade("--binary", guest.slain_new(what, number, "before"))
        assert report.code == 1 and report.status in (None, "failed"), report
        guest.check_kept(pid)
    guest.power_off()


@gateways(1)
def test_the_new_one_dies_committed_before_it_ran(net):
    """The old one holds the guest then; the records say that it may go on."""
    guest = Upgradable(net[1]).boot()
    pid = guest.status()["pid"]
    report = guest.upgrade("--binary", guest.slain_new("rename", 3, "before"))
    assert report.code == 1, report
    assert "died before guest guest ran there" in guest.said(), guest.said()
    guest.check_kept(pid)
    guest.power_off()


@gateways(1)
def test_the_new_one_dies_when_it_took_the_guest(net):
    guest = Upgradable(net[1]).boot()
    report = guest.upgrade("--binary", guest.slain_new("rename", 3, "after"))
    assert report.code == LOST and "died, and the guest with it" in report.error, report
    guest.wait(MONITOR_ERROR)
    assert "the guest ended with it" in guest.said(), guest.said()
    check_boots_anew(net[1])


@gateways(1)
def test_the_old_one_dies_at_the_commit(net):
    """READY was heard, COMMIT not said: the new one has all of the guest, and knows it."""
    guest = Upgradable(net[1], under=("slay", "frame", COMMIT, "before"),
                       is_file=True).boot()
    assert guest.upgrade().code == 0
    guest.wait(KILLED)
    guest.check_alive()
    guest.check_upgraded()
    guest.check_alive()
    guest.power_off()
    check_boots_anew(net[1])


@gateways(1)
def test_the_old_one_dies_behind_the_commit(net):
    guest = Upgradable(net[1], under=("slay", "frame", COMMIT, "after"),
                       is_file=True).boot()
    assert guest.upgrade().code == 0
    guest.wait(KILLED)
    guest.check_alive()
    guest.check_upgraded()
    guest.check_alive()
    guest.power_off()


@gateways(1)
def test_the_new_one_hears_that_the_guest_is_kept(net):
    """Its READY breaks the link, and the kernel has no memory for WITHDRAW at first: a new one that
    did not hear that would take the pair's end for the old one's death, and run the guest too."""
    guest = Upgradable(net[1], under=("slay", "parcel", WITHDRAW, "fail")).boot()
    pid = guest.status()["pid"]
    report = guest.upgrade("--binary", guest.slain_new("frame", READY, "fail"))
    assert report.code == 1, report
    net[1].shell("while [ $(pidof godwit | wc -w) != 1 ]; do usleep 10000; done")
    said = guest.said()
    assert "was not taken over: the old godwit keeps it" in said, said
    assert "goes on in this one" not in said, said
    assert guest.status()["pid"] == pid, guest.status()
    guest.check_alive()
    guest.power_off()


@gateways(1)
def test_records_that_are_not_the_old_ones_take_no_guest(net):
    guest = Upgradable(net[1], options=["--state-dir", "/tmp/state"]).boot()
    pid = guest.status()["pid"]
    for elsewhere in ("mv /tmp/state /tmp/away",
                      "mv /tmp/state /tmp/away; mkdir -m 700 /tmp/state; "
                      "touch /tmp/state/guest.lock"):
        report = guest.upgrade("--binary", guest.script(f'{elsewhere}; exec /bin/godwit "$@"'))
        assert report.code == REFUSED, report
        assert "/tmp/state/guest.lock has inode" in report.error, report
        net[1].shell("rm -rf /tmp/state; mv /tmp/away /tmp/state")
        assert guest.status()["pid"] == pid, guest.status()
        guest.check_alive()
    guest.power_off()


@gateways(1)
def test_records_that_are_lost_settle_nothing(net):
    """The new one took the guest and died, and what it wrote is not there: had the old one gone on,
    its registers would be of a moment whose memory is gone on."""
    guest = Upgradable(net[1], options=["--state-dir", "/tmp/state"]).boot()
    report = guest.upgrade("--binary", guest.script(
        'slay rename 3 after /bin/godwit "$@"; rm /tmp/state/guest.incoming'))
    assert report.code == HELD and "is held" in report.error, report
    said = guest.said()
    assert said.count("/tmp/state has no record of what the new godwit did") == 1, said
    assert not guest.status()["running"], guest.status()
    resolve = net[1].check("godwit", "resolve", "guest", "--give-up")
    assert "never runs" in resolve, resolve
    guest.wait(MIGRATED_AWAY)


@gateways(1)
def test_an_old_one_that_stands_still_is_not_waited_for(net):
    """The guest runs in the new one, and DONE does not come."""
    guest = Upgradable(net[1], under=("slay", "frame", DONE, "freeze"), is_file=True).boot()
    report = guest.upgrade()
    assert report.code == HELD and "is held" in report.error, report
    guest.check_alive()
    guest.command.kill(9)
    guest.expect(lambda told: "held" not in str(told["migrate"]))
    guest.power_off()


@gateways(1)
def test_a_paused_guest_stays_paused(net):
    guest = Upgradable(net[1]).boot()
    control = Control(net[1])
    net[1].check("godwit", "stop", "guest")
    guest.check_upgraded()
    assert not guest.status()["running"], guest.status()
    assert b'"RESUME"' not in control.ask("paused")
    net[1].check("godwit", "cont", "guest")
    assert b'"RESUME"' in control.ask("continued")
    guest.check_alive()
    guest.power_off()


@gateways(1)
def test_what_was_set_passes(net):
    """None of it as it is when a godwit starts."""
    guest = Upgradable(net[1]).boot()
    guest.set_parameters({
        "downtime-limit": 77, "max-bandwidth": 1 << 40, "max-postcopy-bandwidth": (1 << 33) + 5,
        "multifd-channels": 5, "multifd-compression": "lz4", "throttle-trigger-threshold": 100,
        "cpu-throttle-initial": 31, "cpu-throttle-increment": 32, "max-cpu-throttle": 93,
        "cpu-throttle-tailslow": True})
    guest.execute("migrate-set-capabilities", {"capabilities": [
        {"capability": name, "state": name in ("events", "pause-before-switchover")}
        for name in ("events", "postcopy-ram", "auto-converge", "pause-before-switchover",
                     "switchover-ack")]})

    def is_set():
        return [line for line in net[1].check(
            "talk", SOCKET, stdin=b'{"execute":"qmp_capabilities"}\n'
                                  b'{"execute":"query-migrate-parameters"}\n'
                                  b'{"execute":"query-migrate-capabilities"}\n').splitlines()
                if '"return"' in line]
    before = is_set()
    assert len(before) == 3 and "77" in before[1], before
    net[1].check("godwit", "upgrade", "guest")
    assert is_set() == before, (is_set(), before)
    guest.power_off()


@gateways(2)
def test_between_two_migrations(net):
    source = Upgradable(net[1], words="load=8@4").boot()
    source.console.wait_for_counts(3)
    source.check_upgraded()
    source.console.wait_for_counts(3)
    target = listen(net[2])
    waiting = net[2].run("godwit", "upgrade", "guest")
    assert waiting.code == 1 and b"waiting for an incoming migration" in waiting.error, waiting
    report = source.migrate(uri(net[2]), "--verify")
    assert report.code == 0 and report.verify == "equal", report
    target.console.wait_for_counts(3)
    check_continuous(source.console, target.console)
    target.command.wait_for_error(b"came and is settled")
    departed = net[1].run("godwit", "run", "guest", "--kernel", "/guest/Image")
    assert departed.code == 2 and b"moved to" in departed.error, departed
    net[2].check("godwit", "upgrade", "guest")
    # The harness closes a command's pipes when it ends: what is printed now is nobody's.
    back = listen(net[1], name="guest", options=["--state-dir", "/tmp/state"])
    assert Report(net[2].run("godwit", "migrate", "guest", uri(net[1]), "--plaintext", "--json",
                             "--verify")).code == 0
    back.console.wait_for_counts(3)
    check_continuous(back.console)
    back.power_off()


@gateways(2)
def test_of_huge_pages(net):
    """Its memory passes too, and all of it is there for whoever asks the new one for it."""
    with huge_pages(net[1]):
        source = Upgradable(net[1], words="load=8@4", **HUGE).boot()
        source.console.wait_for_counts(3)
        for _ in range(2):
            source.check_upgraded()
            source.console.wait_for_counts(3)
        assert free_pages(net[1]) == 0, "the guest's memory is not in huge pages any more"
        target = listen(net[2], memory=HUGE["memory"])
        report = source.migrate(uri(net[2]), "--verify")
        assert report.code == 0 and report.verify == "equal", report
        target.console.wait_for_counts(3)
        check_continuous(source.console, target.console)
        target.power_off()


@gateways(1)
def test_while_it_moves_it_is_refused(net):
    guest = Upgradable(net[1]).boot()
    target = net[1].start("godwit", "run", "guest", "--incoming", "unix:/tmp/there", "--control",
                          "/tmp/there.sock", "--state-dir", "/tmp/there.state", "--console",
                          "/tmp/there.console")
    net[1].shell("until [ -S /tmp/there ]; do usleep 10000; done")
    migration = guest.start_migration("unix:/tmp/there", "--bandwidth", "1M")
    migration.wait_for_output(b'"active"')
    report = guest.upgrade()
    assert report.code == 1 and "migration process in progress" in report.error, report
    net[1].check("godwit", "migrate-cancel", "guest")
    assert migration.wait().code == CANCELLED
    target.kill(9)
    guest.check_alive()
    guest.power_off()


@gateways(1)
def test_standard_input_and_output_pass(net):
    """A shell stays behind the pipes, so that the harness keeps them when the first godwit ends."""
    guest = Guest(net[1])
    words = " ".join(f"'{word}'" for word in guest._arguments)
    guest.command = net[1].start(
        "sh", "-c", f"godwit run {words}; echo ended with $? >&2; "
                    "while pidof godwit >/dev/null; do usleep 20000; done", stdin=None,
        on_output=lambda kind, data: guest.console.feed(data) if kind == "O" else None)
    guest.console.wait_for_line("guest: ready")
    for number in range(3):
        guest.console.wait_for_counts(2)
        net[1].check("godwit", "upgrade", "guest")
        guest.type(f"echo typed after {number}")
        guest.console.wait_for_line(f"echo: typed after {number}")
    check_continuous(guest.console)
    guest.type("poweroff")
    guest.command.wait()
    assert "ended with 20" in guest.said() and "powered off" in guest.said(), guest.said()


@gateways(1)
def test_a_file_as_console_goes_on(net):
    guest = Upgradable(net[1], is_file=True, cpus=2, words="smp").boot()
    for _ in range(3):
        guest.console.wait_for_counts(2)
        text = net[1].check("godwit", "upgrade", "guest")
        assert text.startswith("upgraded from ") and text.endswith("nothing copied\n"), text
    guest.console.wait_for_counts(2)
    guest.check_alive()
    guest.power_off()
