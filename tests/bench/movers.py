# SPDX-License-Identifier: Apache-2.0
"""Whoever moves a stopped guest's memory on this machine, in one process to another: godwit and the
bare limit (tests/bench/transfer), and QEMU. Each returns a Move."""
import os
import subprocess
import time

from harness.qmp import Qmp

QEMU = "qemu-system-aarch64"
# Between the start of QEMU's RAM and the memory to be moved: its device tree lies there.
QEMU_AHEAD_MIB = 2
QEMU_RAM = 0x40000000
POLL_S = 0.005


class Move:
    """What one transfer took: seconds in all, without its setup, and on CPUs, both sides together."""

    def __init__(self, size, total_s, pass_s, cpu_s):
        self.size, self.total_s, self.pass_s, self.cpu_s = size, total_s, pass_s, cpu_s

    @property
    def rate(self):
        """MB/s, all in."""
        return self.size / self.total_s / 1e6

    @property
    def pass_rate(self):
        return self.size / self.pass_s / 1e6

    @property
    def cpu_s_per_gib(self):
        return self.cpu_s / (self.size / 2 ** 30)


def run_program(program, way, **words):
    """The figures it prints."""
    command = [str(program), way, *(f"{name}={value}" for name, value in words.items())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"again: {' '.join(command)}: {done.stderr.strip()}")
    return {name: int(value) for name, value in map(str.split, done.stdout.splitlines())}


def move_by_program(program, way, **words):
    found = run_program(program, way, **words)
    return Move(words["mib"] * 2 ** 20, found["total_ns"] / 1e9,
                found.get("pass_ns", found["total_ns"]) / 1e9,
                (found["source_cpu_ns"] + found["target_cpu_ns"]) / 1e9)


class Monitor:
    """A QEMU whose guest never runs."""

    def __init__(self, folder, name, mib, *words, prealloc=False, netns=None):
        path = f"{folder}/{name}.qmp"
        inside = ["ip", "netns", "exec", netns] if netns else []
        backend = f"memory-backend-ram,id=ram,size={mib}M" + (",prealloc=on" if prealloc else "")
        self._process = subprocess.Popen(
            [*inside, QEMU, "-M", "virt,memory-backend=ram", "-object", backend, "-m", f"{mib}M",
             "-cpu", "cortex-a57", "-accel", "tcg", "-S", "-nodefaults", "-no-user-config",
             "-display", "none", "-qmp", f"unix:{path},server=on,wait=off", *words],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self._qmp = None
        try:
            self._qmp = self._connect(path)
        except BaseException:
            self.end()
            raise

    def _connect(self, path):
        while True:
            try:
                return Qmp(path, timeout=None)
            except (FileNotFoundError, ConnectionRefusedError):
                if self._process.poll() is not None:
                    raise RuntimeError(f"QEMU ended: {self._process.stderr.read()}") from None
                time.sleep(POLL_S)

    def execute(self, command, **arguments):
        try:
            return self._qmp.execute(command, **{name.replace("_", "-"): value
                                                 for name, value in arguments.items()})
        except EOFError:
            raise RuntimeError(f"QEMU ended at {command}: {self._process.stderr.read()}") from None

    def cpu_s(self):
        """User and system time of all its threads, ended ones too: proc(5)."""
        with open(f"/proc/{self._process.pid}/stat", encoding="utf-8") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self):
        self._process.kill()
        self._process.wait()
        if self._qmp:
            self._qmp.close()


def set_up_qemu(monitor, multifd, compression):
    names = ["multifd"] if multifd else []
    monitor.execute("migrate-set-capabilities",
                    capabilities=[{"capability": name, "state": True} for name in names])
    parameters = {"max_bandwidth": 10 ** 11}  # else 128 MiB/s
    if multifd:
        parameters["multifd_channels"] = multifd
        parameters["multifd_compression"] = compression
    monitor.execute("migrate-set-parameters", **parameters)


def await_completed(monitor):
    while True:
        told = monitor.execute("query-migrate")
        if told.get("status") == "completed":
            return told
        if told.get("status") in ("failed", "cancelled"):
            raise RuntimeError(f"QEMU's migration: {told}")
        time.sleep(POLL_S)


def move_by_qemu(folder, mib, content=None, source_touched=False, target_touched=False, multifd=0,
                 compression="none", host="127.0.0.1", netns=None):
    """content: a file that the guest's memory holds; None: zeros. multifd: channels; 0: without.

    Its own total time, which ends when the last byte is in the source's socket buffers."""
    load = ["-device", f"loader,file={content},addr={QEMU_RAM + QEMU_AHEAD_MIB * 2 ** 20:#x},"
            "force-raw=on"] if content else []
    mib_all = mib + QEMU_AHEAD_MIB
    source = target = None
    try:
        source = Monitor(folder, "source", mib_all, *load, prealloc=source_touched)
        target = Monitor(folder, "target", mib_all, "-incoming", "defer", prealloc=target_touched,
                         netns=netns)
        for monitor in (source, target):
            set_up_qemu(monitor, multifd, compression)
        target.execute("migrate-incoming", uri=f"tcp:{host}:0")
        address = target.execute("query-migrate")["socket-address"][0]
        before = source.cpu_s() + target.cpu_s()
        source.execute("migrate", uri=f"tcp:{host}:{address['port']}")
        told = await_completed(source)
        await_completed(target)
        cpu_s = source.cpu_s() + target.cpu_s() - before
        return Move(mib * 2 ** 20, told["total-time"] / 1e3,
                    (told["total-time"] - told["setup-time"]) / 1e3, cpu_s)
    finally:
        for monitor in (source, target):
            if monitor:
                monitor.end()
