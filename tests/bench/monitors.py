# SPDX-License-Identifier: Apache-2.0
"""Two monitors in one gateway, driven alike: both speak QMP, and their events carry the gateway's
clock."""
import json
import threading

from harness.agent import AgentError
from harness.peer import PEER_ROOT, qemu_words

GUEST_MEMORY_MB = 256
CMDLINE = "console=ttyAMA0 quiet panic=-1 loglevel=4"


class Qmp:
    """A monitor's control socket in a gateway."""

    def __init__(self, gateway, path):
        self._changed = threading.Condition()
        self._rest = b""
        self._answers, self._events = {}, []
        self._number = 0
        gateway.shell(f"until [ -S {path} ]; do usleep 10000; done", timeout=60)
        self._command = gateway.start("talk", path, stdin=None, on_output=self._feed)
        self.execute("qmp_capabilities")

    def execute(self, command, timeout=60, **arguments):
        self._number += 1
        number = self._number
        arguments = {name.replace("_", "-") if not name.startswith("__") else name: value
                     for name, value in arguments.items()}
        line = json.dumps({"execute": command, "arguments": arguments, "id": number})
        self._command.send_input(line.encode() + b"\n")
        with self._changed:
            if not self._changed.wait_for(lambda: number in self._answers, timeout):
                raise AgentError(f"no answer to {command} within {timeout} s")
            answer = self._answers.pop(number)
        if "error" in answer:
            raise AgentError(f"{command}: {answer['error']['desc']}")
        return answer["return"]

    def event_us(self, name, status=None, timeout=120):
        """When it came, or comes: the first one of this name (and MIGRATION status)."""
        def find():
            return next((event for event in self._events if event["event"] == name and
                         (status is None or event["data"]["status"] == status)), None)
        with self._changed:
            self._changed.wait_for(lambda: find() or self._has_failed(), timeout)
            event = find()
        if event is None:
            raise AgentError(f"no event {name} {status or ''}; there were {self._events}")
        return event["timestamp"]["seconds"] * 1000000 + event["timestamp"]["microseconds"]

    def forget_events(self):
        with self._changed:
            self._events.clear()

    def close(self):
        self._command.kill(9)

    def _has_failed(self):
        return any(event["event"] == "MIGRATION" and event["data"]["status"] == "failed"
                   for event in self._events)

    def _feed(self, kind, data):
        if kind != "O":
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        with self._changed:
            for line in lines:
                message = json.loads(line)
                if "event" in message:
                    self._events.append(message)
                elif "id" in message:
                    self._answers[message["id"]] = message
            self._changed.notify_all()


class Machine:
    """A guest, or the place of one: qmp, and console (a path in the gateway)."""

    def __init__(self, gateway, command, socket, console):
        self._gateway, self._command, self.console = gateway, command, console
        try:
            self.qmp = Qmp(gateway, socket)
        except AgentError as error:
            said = command.error().decode(errors="replace")
            raise AgentError(f"{error}; it said: {said}") from error

    def end(self):
        """After its guest has left."""
        if not self._command.ended():
            self._command.kill(9)
        self._command.wait(30)
        self.qmp.close()

    def wait_for(self, text, timeout=120):
        self._gateway.wait_for_text(self.console, text, timeout)


class Godwit:
    name = process = "godwit"
    capabilities = ["events", "postcopy-ram"]
    target_capabilities = ["events"]

    def __init__(self, gateway):
        self._gateway, self._count = gateway, 0

    def boot(self, words):
        return self._start("--kernel", "/guest/Image", "--initrd", "/guest/initrd",
                           "--cmdline", f"{CMDLINE} {words}".strip())

    def listen(self, uri, postcopy):
        machine = self._start("--incoming", uri)
        _enable(machine, self.target_capabilities)
        return machine

    def prepare_source(self, machine, postcopy):
        _enable(machine, self.capabilities if postcopy else ["events"])
        # As QEMU's defaults: not slowed down, and no postcopy that nobody asked for.
        return {"__org.godwit_auto-converge": False, "__org.godwit_precopy": not postcopy}

    def idle_command(self, label):
        """(socket, command) of a monitor that waits for a guest."""
        return f"/run/godwit/{label}.sock", self._words(label, "--incoming", "tcp:127.0.0.1:0")

    def _words(self, label, *words):
        return ["godwit", "run", "--name", label, "--memory", f"{GUEST_MEMORY_MB}M", "--cpus", "1",
                "--console", f"file:/tmp/{label}.console", *words]

    def _start(self, *words):
        self._count += 1
        label = f"guest{self._count}"
        command = self._gateway.start(*self._words(label, *words))
        return Machine(self._gateway, command, f"/run/godwit/{label}.sock", f"/tmp/{label}.console")


class Qemu:
    name, process = "QEMU", "qemu-system-aarch64"
    # Its best for postcopy: a channel of its own for what is waited for.
    capabilities = ["events", "postcopy-ram", "postcopy-preempt"]
    target_capabilities = ["events", "postcopy-ram", "postcopy-preempt", "postcopy-blocktime"]

    def __init__(self, gateway):
        self._gateway, self._count = gateway, 0

    def boot(self, words):
        return self._start("-kernel", "/guest/Image", "-initrd", "/guest/initrd",
                           "-append", f"{CMDLINE} {words}".strip())

    def listen(self, uri, postcopy):
        machine = self._start("-incoming", "defer")
        _enable(machine, self.target_capabilities if postcopy else ["events"])
        machine.qmp.execute("migrate-incoming", uri=uri)
        return machine

    def prepare_source(self, machine, postcopy):
        _enable(machine, self.capabilities if postcopy else ["events"])
        machine.qmp.execute("migrate-set-parameters", max_bandwidth=10**11)  # else 128 MiB/s
        return {}

    def idle_command(self, label):
        return f"{PEER_ROOT}/tmp/{label}.sock", self._words(label, "-incoming", "defer")

    def _words(self, label, *words):
        return qemu_words(GUEST_MEMORY_MB, "-serial", f"file:/tmp/{label}.console",
                          "-qmp", f"unix:/tmp/{label}.sock,server=on,wait=off", *words)

    def _start(self, *words):
        self._count += 1
        label = f"guest{self._count}"
        command = self._gateway.start(*self._words(label, *words))
        return Machine(self._gateway, command, f"{PEER_ROOT}/tmp/{label}.sock",
                       f"{PEER_ROOT}/tmp/{label}.console")


def _enable(machine, names):
    machine.qmp.execute("migrate-set-capabilities",
                        capabilities=[{"capability": name, "state": True} for name in names])
