# SPDX-License-Identifier: Apache-2.0
"""One emulated gateway: an aarch64 machine with EL2, so that its Linux has a real /dev/kvm."""
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from . import images, log
from .agent import AgentError, Connection
from .paths import EMULATOR
from .qmp import Qmp

AGENT_PORTS = 6
# Without pointer authentication, SVE and SME a guest starts about as fast as this model goes;
# tests that are about those, or about a small core, say cpu="max" or cpu="cortex-a72".
FAST_CPU = "max,pauth=off,sve=off,sme=off"


class Gateway:
    """Attributes: number, address ("10.0.0.N"), folder, clock_uncertainty_ns."""

    def __init__(self, folder, number, network, cpu=FAST_CPU, gic=3, pages="4k", smp=1,
                 memory="1G", mtu=65000, extra=None, disk=None, touched=False):
        self.folder, self.number = Path(folder), number
        self.address = f"10.0.0.{number}"
        self._network = network
        self._cpu, self._gic, self._pages, self._smp = cpu, gic, pages, smp
        self._memory, self._mtu, self._extra = memory, mtu, extra
        self._disk, self._touched = disk, touched
        self._connection = None
        self._process = None
        self.clock_uncertainty_ns = None

    # ---- life ----

    def launch(self):
        """Starts the emulator; attach() waits until the gateway is usable."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        arguments = self._arguments()
        (self.folder / "command").write_text(" ".join(map(str, arguments)) + "\n")
        # It stays in its folder, so that the sockets' names are short: a socket's path is limited
        # to 107 bytes, a checkout's is not.
        with open(self.folder / "errors", "w") as errors:
            self._process = subprocess.Popen(
                arguments, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=errors,
                stderr=errors, start_new_session=True)
        (self.folder / "pid").write_text(f"{self._process.pid}\n")
        self._await_sockets()

    def attach(self, timeout=120):
        """Connects to a launched gateway; sets its clock the first time."""
        try:
            self._connection = Connection(self.folder, timeout)
        except AgentError as error:
            raise AgentError(f"gateway {self.number}: {error}; its console: "
                             f"{self.console_tail()}") from error
        return self

    def set_clock(self):
        _, self.clock_uncertainty_ns = self._connection.set_clock()

    def clock_offset_ns(self):
        """(offset, uncertainty): this gateway's wall clock less the PC's."""
        return self._connection.clock_offset_ns()

    def detach(self):
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def running(self):
        return self._process_id() is not None

    def stop(self):
        """Ends it as a power cut would: nothing in it is asked."""
        log.write(f"gateway {self.number}: power off")
        self.detach()
        process = self._process_id()
        if process is None:
            return
        os.kill(process, signal.SIGKILL)
        _await(lambda: self._process_id() is None, f"process {process} to end")
        if self._process is not None:
            self._process.wait()
        for leftover in self.folder.glob("*.sock"):
            leftover.unlink(missing_ok=True)

    def console_tail(self, size=1500):
        try:
            return (self.folder / "console.log").read_bytes()[-size:].decode(errors="replace")
        except OSError:
            return "(none)"

    def running_commands(self):
        """What each command that has not ended said last."""
        if self._connection is None:
            return []
        return [command.told() for command in self._connection.running()]

    # ---- what a test does with it ----

    def start(self, *arguments, **options):
        """Starts a command in the gateway and returns at once; see agent.Command."""
        log.write(f"gateway {self.number}: start: {' '.join(map(str, arguments))}")
        return self._connection.start(arguments, **options)

    def run(self, *arguments, timeout=120, **options):
        """Runs a command to its end; returns its Result whatever its code."""
        result = self.start(*arguments, **options).wait(timeout)
        shown = (result.output + result.error)[-2000:].decode(errors="replace")
        log.write(f"gateway {self.number}: code {result.code}: {shown}")
        return result

    def check(self, *arguments, code=0, **options):
        """Runs a command that must end with this code; returns its output as text."""
        result = self.run(*arguments, **options)
        if result.code != code:
            raise AssertionError(
                f"gateway {self.number}: '{' '.join(map(str, arguments))}' ended with "
                f"{result.code}, wanted {code}\noutput: {result.text()}\n"
                f"errors: {result.error.decode(errors='replace')}")
        return result.text()

    def shell(self, script, **options):
        return self.check("sh", "-c", script, **options)

    def push(self, content, path, mode="644"):
        """Writes bytes (or the content of a Path) to a file there."""
        if isinstance(content, Path):
            content = content.read_bytes()
        self.check("sh", "-c", f"cat >'{path}' && chmod {mode} '{path}'", stdin=content)

    def pull(self, path):
        result = self.start("cat", path).wait()
        if result.code != 0:
            raise AssertionError(f"gateway {self.number}: {result.error.decode()}")
        return result.output

    def wait_for_text(self, path, text, timeout=120):
        """Waits until a file there (made now or later) holds a text; returns the file's content."""
        follower = self.start("tail", "-n", "+1", "-F", path)
        try:
            return follower.wait_for_output(text.encode(), timeout).decode(errors="replace")
        finally:
            follower.kill(9)

    def set_link(self, up):
        """Plugs or unplugs the network cable."""
        log.write(f"gateway {self.number}: link {'up' if up else 'down'}")
        qmp = Qmp(self.folder / "qmp.sock")
        try:
            qmp.execute("set_link", name="net0", up=up)
        finally:
            qmp.close()

    # ---- inside ----

    def _await_sockets(self):
        """The emulator makes its sockets in the order of its arguments, the QMP one last of all."""
        wanted = [self.folder / "qmp.sock"]
        wanted += [self.folder / f"agent.{port}.sock" for port in range(AGENT_PORTS)]

        def listening():
            if self._process.poll() is not None:
                errors = (self.folder / "errors").read_text().strip()
                raise RuntimeError(f"the emulator of gateway {self.number} ended: {errors}")
            return all(path.exists() for path in wanted)
        _await(listening, "the emulator's sockets")

    def _arguments(self):
        initrd = images.gateway_initramfs(self._pages, self._extra)
        ports = []
        for port in range(AGENT_PORTS):
            ports += ["-chardev", f"socket,id=a{port},path=agent.{port}.sock,server=on,wait=off",
                      "-device", f"virtserialport,chardev=a{port},name=agent.{port}"]
        disk = []
        if self._disk is not None:
            disk = ["-drive", f"file={self._disk},format=raw,if=none,id=d0,readonly=on",
                    "-device", "virtio-blk-pci,drive=d0"]
        backend = f"memory-backend-ram,id=ram,size={self._memory}"
        return [
            EMULATOR, "-name", f"gateway{self.number}",
            "-M", f"virt,virtualization=on,gic-version={self._gic},memory-backend=ram",
            "-object", backend + (",prealloc=on" if self._touched else ""), "-cpu", self._cpu,
            "-smp", str(self._smp), "-m", self._memory, "-accel", "tcg,thread=multi",
            "-display", "none", "-monitor", "none", "-nodefaults", "-no-reboot",
            "-serial", "file:console.log", "-qmp", "unix:qmp.sock,server=on,wait=off",
            "-kernel", images.gateway_kernel(self._pages), "-initrd", initrd,
            "-append", f"console=ttyAMA0 quiet panic=-1 gateway={self.number} mtu={self._mtu}",
            "-device", "virtio-serial-pci", *ports, *disk,
            "-netdev", self._network.netdev(self.number),
            "-device", f"virtio-net-pci,id=net0,netdev=n0,mac=52:54:00:00:00:{self.number:02x},romfile=",
        ]

    def _process_id(self):
        """Of this gateway's emulator if it runs: the number in its file may be another's by now."""
        try:
            process = int((self.folder / "pid").read_text())
            command = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
            here = os.readlink(f"/proc/{process}/cwd")
        except (OSError, ValueError):
            return None
        own = EMULATOR.encode() in command[0] and Path(here) == self.folder.resolve()
        return process if own else None


def _await(condition, what, timeout=30):
    """For what gives no event to wait for."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {timeout} s for {what}")
        time.sleep(0.005)
