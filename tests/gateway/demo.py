# SPDX-License-Identifier: Apache-2.0
"""tools/demo: a guest moves, running, from one gateway to another, and all of it is measured.

On an aarch64 machine with a usable /dev/kvm both gateways are processes of this machine; elsewhere
they are emulated. What is claimed at the end was measured from outside: the consoles are read here,
by one clock.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import images  # noqa: E402
from harness.agent import AgentError  # noqa: E402
from harness.console import check_continuous, clock_step_us  # noqa: E402
from harness.guest import MIGRATED_AWAY, Guest, Report  # noqa: E402
from harness.local import LocalHost, loopback_round_trip_us  # noqa: E402
from harness.network import Network, own_folder  # noqa: E402
from harness.paths import RELEASE  # noqa: E402

COUNTS_SHOWN = 20
BAR_WIDTH = 40
START = time.monotonic()


def say(text):
    print(f"demo: {text}", flush=True)


def echo_of(place):
    """Shows a console's lines, less the ticks that only the measurement wants."""
    def echo(line):
        if line and line != ".":
            erase_bar()
            print(f"  {place} | {line[:92]}", flush=True)
    return echo


# ---- the progress bar ----

def erase_bar():
    if sys.stdout.isatty():
        sys.stdout.write("\r\x1b[K")


def show_progress(line):
    """One JSON object of `godwit migrate`: a bar on a terminal, a plain line elsewhere."""
    ram = line.get("ram")
    if not ram:
        return
    total, left = ram.get("total", 0), ram.get("remaining", 0)
    part = 1 - left / total if total else 1
    text = (f"{line['status']:<10} {part:4.0%}  {ram['transferred'] / 1e6:.1f} MB sent, "
            f"{left / 1e6:.1f} MB left, round {ram.get('dirty-sync-count', 0)}")
    if sys.stdout.isatty():
        full = int(part * BAR_WIDTH)
        sys.stdout.write(f"\r\x1b[K  [{'#' * full}{'.' * (BAR_WIDTH - full)}] {text}")
        sys.stdout.flush()
    else:
        print(f"  {text}", flush=True)


class Progress:
    """Fed with the output of `godwit migrate --json`."""

    def __init__(self):
        self._rest = b""

    def feed(self, kind, data):
        if kind != "O":
            return
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            if line.strip():
                show_progress(json.loads(line))


# ---- where it runs ----

class Emulated:
    """Two emulated gateways and the link between them."""
    place = "gateway"

    def __init__(self):
        say("building the gateways' image (kernel, busybox, godwit)")
        images.build_programs()
        say("starting two emulated gateways (aarch64 with KVM) joined by a virtual link")
        self._network = Network(own_folder("demo"), 2).up()
        self.hosts = list(self._network)
        self.files = {}
        self.uri = f"tcp:{self.hosts[1].address}:4444"

    def round_trip_us(self):
        text = self.hosts[0].check("ping", "-c", "10", "-i", "0.1", self.hosts[1].address)
        return 1000 * float(re.search(r"= [\d.]+/([\d.]+)/", text).group(1))

    def close(self):
        self._network.down()


class Here:
    """This machine, twice. Each side has its own places, as two machines would."""
    place = "process"

    def __init__(self, files):
        programs, kernel, initrd = files
        folder = own_folder("demo")
        self.hosts = []
        for number in (1, 2):
            places = folder / str(number)
            places.mkdir(parents=True, exist_ok=True)
            places.chmod(0o700)
            self.hosts.append(LocalHost(number, programs, {"XDG_RUNTIME_DIR": str(places)}))
        self._folder = folder
        self.files = {"kernel": str(kernel), "initrd": str(initrd)}
        self.uri = "tcp:127.0.0.1:4444"

    def round_trip_us(self):
        return loopback_round_trip_us()

    def close(self):
        for host in self.hosts:
            host.stop()


def own_kvm():
    return os.uname().machine == "aarch64" and os.access("/dev/kvm", os.R_OK | os.W_OK)


def built_here():
    images.build_programs()
    return RELEASE, images.guest_kernel(), images.guest_initramfs()


# ---- the main job ----

def migrate(where, words):
    one, two = where.hosts
    name = "demo" if where.place == "gateway" else f"demo{os.getpid()}"
    say(f"booting a Linux guest on {where.place} 1; its console:")
    source = Guest(one, name=name, words=f"ticks {words}", echo=echo_of(f"{where.place} 1"),
                   **where.files).boot()
    source.console.wait_for_counts(COUNTS_SHOWN)
    other = name if where.place == "gateway" else f"{name}-target"
    target = Guest(two, name=other, incoming=where.uri.replace("10.0.0.2", "0.0.0.0"),
                   echo=echo_of(f"{where.place} 2")).listen()
    say(f"migrating it, running, to {where.place} 2 ({where.uri})")
    report = Report(source.start_migration(where.uri, "--verify",
                                           on_output=Progress().feed).wait(240))
    erase_bar()
    if report.code != 0:
        raise AssertionError(f"godwit migrate ended with {report.code}: {report.error}")
    say(f"the same guest on {where.place} 2:")
    target.console.wait_for_counts(COUNTS_SHOWN)
    source.wait(MIGRATED_AWAY)
    return source, target, report


def judge(where, source, target, report):
    """Prints the summary; returns the downtime as seen from outside, in ms: the silence between
    the two consoles, less the time for which RAM was compared, since only the demo asks for that.
    """
    counts = check_continuous(source.console, target.console)
    arrived = target.console.counts()[0]
    silent_ms = (target.console.first_seen_us - source.console.last_seen_us) / 1000
    downtime_ms = max(silent_ms - report.verify_ms, 0)
    inside_ms = max(count.gap_us for count in counts if abs(count.number - arrived.number) <= 2) / 1000
    step_us, uncertainty_us = clock_step_us(source.console, target.console)
    # On a busy machine a round trip is what it was during the handover, not on an idle link after it.
    handover_us = target.status()["migrate"]["__org.godwit"]["round-trip-us"]
    round_trip_us = max(where.round_trip_us(), handover_us)
    say("summary")
    print(f"  total time        {report.total_ms} ms\n"
          f"  downtime          {downtime_ms:.0f} ms from outside: {silent_ms:.0f} ms from the last "
          f"sign of life on {where.place} 1 to\n                    the first on {where.place} 2 "
          f"(it gives one every 10 ms), less {report.verify_ms} ms of comparing RAM\n"
          f"                    {max(inside_ms - report.verify_ms, 0):.0f} ms by the guest's own clock "
          f"({inside_ms:.0f} ms less the comparing)\n"
          f"                    {report.downtime_ms:.1f} ms as godwit measured it\n"
          f"  sent              {report.transferred_bytes / 1e6:.1f} MB in {report.rounds} rounds\n"
          f"  RAM               {report.verify} on both sides "
          f"(comparing took {report.verify_ms} ms)\n"
          f"  console           counts {counts[0].number} to {counts[-1].number}, none skipped or "
          f"repeated\n"
          f"  guest's clock     {step_us / 1000:+.2f} ms off an outside clock after the move "
          f"(measured within {uncertainty_us / 1000:.2f} ms; round trip {round_trip_us / 1000:.2f} ms)",
          flush=True)
    assert report.verify == "equal", f"RAM was not verified equal but '{report.verify}'"
    assert abs(step_us) <= round_trip_us + uncertainty_us, "the guest's clock jumped"
    return downtime_ms


def main():
    parser = argparse.ArgumentParser(
        prog="tools/demo", description="A guest moves, running, from one gateway to another.")
    parser.add_argument("--emulate", action="store_true",
                        help="emulated gateways even where this machine has KVM")
    parser.add_argument("--load", default="", metavar="MB@MBPS",
                        help="memory that the guest keeps writing: 20@10 is 20 MB at 10 MB/s")
    parser.add_argument("--prebuilt", nargs=3, metavar=("PROGRAMS", "KERNEL", "INITRD"),
                        help="this machine's KVM with these: a folder with godwit, and a guest")
    options = parser.parse_args()
    if options.load and not re.fullmatch("[1-9][0-9]*@[1-9][0-9]*", options.load):
        parser.error(f"--load is '{options.load}'; wanted MB@MBPS, such as 20@10")
    where = None
    try:
        if options.prebuilt:
            where = Here(options.prebuilt)
        elif own_kvm() and not options.emulate:
            say("this machine has a KVM of its own: two processes, no emulation")
            where = Here(built_here())
        else:
            where = Emulated()
        source, target, report = migrate(where, f"load={options.load}" if options.load else "")
        downtime_ms = judge(where, source, target, report)
        target.power_off()
    except (AgentError, AssertionError, RuntimeError, OSError,
            subprocess.CalledProcessError) as error:
        erase_bar()
        say(f"FAILED after {time.monotonic() - START:.0f} s: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        if where is not None:
            where.close()
    say(f"all of it took {time.monotonic() - START:.0f} s")
    say(f"migrated; downtime {downtime_ms:.0f} ms; RAM verified; guest time continuous")


main()
