# SPDX-License-Identifier: Apache-2.0
"""This machine in a gateway's place, when it has a KVM of its own: same calls, no emulation."""
import os
import socket
import subprocess
import threading
import time

from .agent import AgentError, Result


class LocalCommand:
    """A process here; see agent.Command for what each call means."""

    def __init__(self, arguments, stdin, on_output, on_end, environment):
        self.arguments = [str(argument) for argument in arguments]
        self._on_output, self._on_end = on_output, on_end
        self._changed = threading.Condition()
        self._parts = {"O": [], "R": []}
        self.code = None
        try:
            self._process = subprocess.Popen(
                self.arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, start_new_session=True, env=environment)
        except OSError as error:
            raise AgentError(f"{error} ({' '.join(self.arguments)})") from error
        self._readers = [
            threading.Thread(target=self._read, args=("O", self._process.stdout), daemon=True),
            threading.Thread(target=self._read, args=("R", self._process.stderr), daemon=True)]
        for reader in self._readers:
            reader.start()
        threading.Thread(target=self._reap, daemon=True).start()
        if stdin is not None:
            self.send_input(stdin)
            self.close_input()

    def send_input(self, data):
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except OSError:
            pass  # it has ended, which wait() tells

    def close_input(self):
        try:
            self._process.stdin.close()
        except OSError:
            pass

    def kill(self, signal_number=15):
        try:
            os.killpg(self._process.pid, signal_number)
        except ProcessLookupError:
            pass

    def output(self):
        with self._changed:
            return b"".join(self._parts["O"])

    def error(self):
        with self._changed:
            return b"".join(self._parts["R"])

    def ended(self):
        return self.code is not None

    def wait(self, timeout=120):
        with self._changed:
            if not self._changed.wait_for(self.ended, timeout):
                raise AgentError(f"no end within {timeout} s: {' '.join(self.arguments)}")
        return Result(self.code, self.output(), self.error())

    def _read(self, kind, pipe):
        while data := os.read(pipe.fileno(), 65536):
            with self._changed:
                self._parts[kind].append(data)
                self._changed.notify_all()
            if self._on_output is not None:
                self._on_output(kind, data)

    def _reap(self):
        for reader in self._readers:
            reader.join()
        code = self._process.wait()
        if self._on_end is not None:
            self._on_end()
        with self._changed:
            self.code = code if code >= 0 else 128 - code
            self._changed.notify_all()


class LocalHost:
    """environment: of the commands run here, so that two of them keep apart on one machine."""

    def __init__(self, number, programs, environment=None):
        self.number = number
        self.address = "127.0.0.1"
        path = f"{programs}:{os.environ.get('PATH', '/bin')}"
        self._environment = {**os.environ, "PATH": path, **(environment or {})}
        self._commands = []

    def start(self, *arguments, stdin=b"", on_output=None, on_end=None):
        command = LocalCommand(self._found(arguments), stdin, on_output, on_end, self._environment)
        self._commands.append(command)
        return command

    def run(self, *arguments, timeout=120, **options):
        return self.start(*arguments, **options).wait(timeout)

    def check(self, *arguments, code=0, **options):
        result = self.run(*arguments, **options)
        if result.code != code:
            raise AssertionError(f"'{' '.join(map(str, arguments))}' ended with {result.code}: "
                                 f"{result.text()}{result.error.decode(errors='replace')}")
        return result.text()

    def stop(self):
        """Ends what was started here and still runs."""
        for command in self._commands:
            if not command.ended():
                command.kill(9)
                command.wait()

    def _found(self, arguments):
        """Popen looks in our own PATH, not in the one it is given."""
        for folder in self._environment["PATH"].split(":"):
            program = os.path.join(folder, str(arguments[0]))
            if os.access(program, os.X_OK):
                return [program, *arguments[1:]]
        return arguments


def loopback_round_trip_us(rounds=20):
    """The mean time for a byte to a thread of this process and back, over TCP."""
    listener = socket.create_server(("127.0.0.1", 0))

    def echo():
        peer, _ = listener.accept()
        with peer:
            while data := peer.recv(1):
                peer.sendall(data)
    threading.Thread(target=echo, daemon=True).start()
    with listener, socket.create_connection(listener.getsockname()) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        start = time.monotonic()
        for _ in range(rounds):
            connection.sendall(b".")
            connection.recv(1)
        return (time.monotonic() - start) * 1e6 / rounds
