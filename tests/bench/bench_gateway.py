# SPDX-License-Identifier: Apache-2.0
"""A Linux guest of 256 MiB moved within one emulated gateway, by godwit and by QEMU with KVM in turn:
how long it stands still, how long it takes, what goes over the link; each monitor's memory and start.

The guests of both boot once for a case and then move from one process to the next, by turns; the one
that does not move is stopped meanwhile. Each one's first move does not count: the emulator translates
what runs for the first time. Times are the events' of both control sockets: one clock.
"""
from harness import images, peer
from harness.console import TROUBLE
from harness.network import Network, own_folder
from harness.paths import BUILD
from monitors import GUEST_MEMORY_MB, Godwit, Qemu
from table import Table, median

PEER = True
RUNS, RUNS_QUICK = 5, 2
FIRST_PORT = 4500
TRACKED_S = 20  # until the next move, which ends it

# Name, words for the guest, postcopy: the cases in which QEMU was measured before.
CASES = [
    ("idle", "", False),
    ("100 MB random", "fill=100", False),
    ("20 MB at 10 MB/s", "load=20@10", False),
    ("20 MB at 40 MB/s", "load=20@40", False),
    ("64 MB at 80 MB/s", "load=64@80", False),
    ("postcopy, 20 MB at 10 MB/s", "load=20@10", True),
]


class Side:
    """One monitor in one case: its guest, wherever it is now, and what its moves took."""

    def __init__(self, gateway, monitor):
        self.gateway, self.monitor = gateway, monitor
        self.guest = None
        self.forget_figures()

    def forget_figures(self):
        self.stopped_ms, self.total_ms, self.sent_mb, self.blocked_ms = [], [], [], []

    def boot(self, words):
        self.guest = self.monitor.boot(words)
        self.guest.wait_for("guest: ready")
        self.guest.wait_for("load_passes 2" if "load=" in words else "count 8")
        self.guest.qmp.execute("stop")

    def move(self, uri, words, postcopy):
        self.gateway.check("wipe")
        source, target = self.guest, self.monitor.listen(uri, postcopy)
        options = self.monitor.prepare_source(source, postcopy)
        source.qmp.execute("cont")
        self._settle(source, words)
        source.qmp.forget_events()
        before = self._loopback_bytes()
        source.qmp.execute("migrate", uri=uri, **options)
        if postcopy:
            source.qmp.event_us("MIGRATION", "active")
            source.qmp.execute("migrate-start-postcopy")
        ended_us = max(side.qmp.event_us("MIGRATION", "completed") for side in (source, target))
        resumed_us = target.qmp.event_us("RESUME")
        self.sent_mb.append((self._loopback_bytes() - before) / 1e6)
        self.stopped_ms.append((resumed_us - source.qmp.event_us("STOP")) / 1000)
        self.total_ms.append((ended_us - source.qmp.event_us("MIGRATION", "setup")) / 1000)
        if postcopy:
            told = target.qmp.execute("query-migrate")
            self.blocked_ms.append(told["postcopy-blocktime"])
        target.wait_for("load_passes" if "load=" in words else "count")
        target.qmp.execute("stop")
        self._check(target)
        source.end()
        self.guest = target

    def end(self):
        self.guest.end()
        self.guest = None

    def memory_mb(self):
        """Resident beside guest RAM, as /proc/PID/smaps counts it."""
        process = self.gateway.check("pidof", self.monitor.process).split()[0]
        resident_kb, is_guest_ram = 0, False
        for line in self.gateway.pull(f"/proc/{process}/smaps").decode().splitlines():
            word, *rest = line.split()
            if word == "Size:":
                is_guest_ram = int(rest[0]) >= GUEST_MEMORY_MB * 1024
            elif word == "Rss:" and not is_guest_ram:
                resident_kb += int(rest[0])
        return resident_kb / 1024

    def _settle(self, guest, words):
        """Until it has done for a while what it does: a pass of its load, or a second."""
        word, more = ("load_passes", 1) if "load=" in words else ("count", 10)
        number = rf"sed -n 's/.*{word} \([0-9]*\).*/\1/p' {guest.console} | tail -n 1"
        self.gateway.shell(f"was=$({number}); until [ $({number}) -ge $((was + {more})) ]; "
                           "do usleep 100000; done")

    def _loopback_bytes(self):
        line = self.gateway.check("grep", "lo:", "/proc/net/dev")
        return int(line.split(":")[1].split()[0])

    def _check(self, guest):
        text = self.gateway.pull(guest.console).decode(errors="replace")
        found = [line for line in text.splitlines() if TROUBLE.search(line)]
        if found:
            raise RuntimeError(f"{self.monitor.name}'s guest complains: {found[:3]}")


def boot_gateway(say):
    say("building godwit and the gateway")
    images.build_programs()
    programs = {f"bin/{name}": BUILD / f"aarch64/tests/bench/{name}" for name in ("ready", "wipe", "bare")}
    say("booting one gateway with two cores")
    network = Network(own_folder("bench"), 1, extra=programs, touched=True, **peer.OPTIONS)
    return network.up()


def measure_start(gateway, monitors, count, say):
    """Milliseconds from start to ready, one list for each; the first start reads it from disk."""
    found = {monitor.name: [] for monitor in monitors}
    for number in range(count + 1):
        for monitor in monitors:
            socket, command = monitor.idle_command(f"start{number}")
            took_us = int(gateway.check("ready", socket, *command))
            if number > 0:
                found[monitor.name].append(took_us / 1000)
    say("starts measured")
    return found


def measure_bare(gateway, guest, megabytes, postcopy):
    """Milliseconds that the bytes alone take, summed on both sides, beside the guest, which runs and
    whose writes are seen, once a page: in a precopy they must be."""
    gateway.check("wipe")
    guest.qmp.execute("cont")
    if not postcopy:
        guest.qmp.execute("calc-dirty-rate", calc_time=TRACKED_S)
    took_us = gateway.check("bare", str(int(megabytes)), *(["staged"] if postcopy else []))
    if not postcopy and guest.qmp.execute("query-dirty-rate")["status"] != "measuring":
        raise RuntimeError(f"bare took longer than the {TRACKED_S} s for which writes were tracked")
    guest.qmp.execute("stop")
    return int(took_us) / 1000


def measure_case(gateway, case, count, say):
    name, words, postcopy = case
    sides = [Side(gateway, Godwit(gateway)), Side(gateway, Qemu(gateway))]
    gateway.shell("rm -rf /run/godwit /tmp/*.console /peer/tmp/*")
    for side in sides:
        side.boot(words)
    memory = [side.memory_mb() for side in sides]
    port = FIRST_PORT + 100 * CASES.index(case)
    bare_ms = []
    for number in range(count + 1):
        for side in sides if number % 2 == 0 else sides[::-1]:
            port += 1
            side.move(f"tcp:127.0.0.1:{port}", words, postcopy)
        if number == 0:
            for side in sides:
                side.forget_figures()
            continue
        fewest = min(side.sent_mb[-1] for side in sides)
        bare_ms.append(measure_bare(gateway, sides[0].guest, fewest, postcopy))
        say(f"{name}, move {number} of {count}: stopped "
            + ", ".join(f"{side.stopped_ms[-1]:.0f} ms by {side.monitor.name}" for side in sides)
            + "; total " + ", ".join(f"{side.total_ms[-1]:.0f} ms" for side in sides)
            + f", bare {bare_ms[-1]:.0f} ms")
    for side in sides:
        side.end()
    return sides, memory, median(bare_ms)


def add_rows(table, name, sides, bare_ms):
    """bare_ms: what the fewer bytes of both take on the same link, summed and nothing else."""
    for what, unit, most, figures in (
            ("stopped", "ms", 0.5, [side.stopped_ms for side in sides]),
            ("total", "ms", 0.5, [side.total_ms for side in sides]),
            ("blocked", "ms", 0.5, [side.blocked_ms for side in sides]),
            ("sent", "MB", 1.0, [side.sent_mb for side in sides])):
        if figures[0]:
            proof, least = {}, bare_ms / median(figures[1])
            if what == "total":
                table.note(f"{name}: the bytes alone, summed on both sides, take {bare_ms:.0f} ms "
                           f"beside the running guest, {least:.2f} of QEMU's total")
                if least > most:
                    proof = {"limit": least, "why": "the bytes alone take so long"}
            table.add(f"{name}: {what}", median(figures[0]), median(figures[1]), unit, at_most=most,
                      **proof)


def run(options, say):
    count = RUNS_QUICK if options.quick else RUNS
    table = Table(f"gateway: a guest of {GUEST_MEMORY_MB} MiB in one emulated gateway, medians of "
                  f"{count}", "QEMU")
    network = boot_gateway(say)
    try:
        gateway = network[1]
        peer.mount_peer(gateway)
        starts = measure_start(gateway, (Godwit(gateway), Qemu(gateway)), count, say)
        memory = None
        for case in CASES:
            sides, used, bare_ms = measure_case(gateway, case, count, say)
            memory = memory or used
            add_rows(table, case[0], sides, bare_ms)
    finally:
        network.down()
    table.add("memory beside guest RAM", memory[0], memory[1], "MB", at_most=0.05)
    table.add("start to ready", median(starts["godwit"]), median(starts["QEMU"]), "ms", at_most=0.2)
    return table
