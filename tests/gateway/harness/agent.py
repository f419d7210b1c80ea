# SPDX-License-Identifier: Apache-2.0
"""Talks to the agent inside a gateway (../agent.c has the frames): runs commands there."""
import fcntl
import os
import socket
import struct
import threading
import time
from pathlib import Path

HEADER = struct.Struct("<IIB")
CHUNK = 32768
FLAG_TERMINAL = 1


class AgentError(Exception):
    """The gateway does not answer, or refused a command."""


class Result:
    """How a command ended: code, and output and error as bytes (text() decodes)."""

    def __init__(self, code, output, error):
        self.code, self.output, self.error = code, output, error

    def text(self):
        return self.output.decode(errors="replace")

    def __repr__(self):
        return f"Result(code={self.code}, output={self.output!r}, error={self.error!r})"


class Command:
    """One command on the gateway. on_output(kind, bytes) sees output as it comes ("O", or "R" for
    errors), on_end() its end; both are called by the connection's reader and must not wait."""

    def __init__(self, connection, number, arguments, on_output=None, on_end=None):
        self._connection, self._number = connection, number
        self._on_output, self._on_end = on_output, on_end
        self._changed = connection.changed
        self._parts = {"O": [], "R": []}
        self.arguments = arguments
        self.code = None
        self.failure = None

    def send_input(self, data):
        for at in range(0, len(data), CHUNK):
            self._connection.send(self._number, "I", data[at:at + CHUNK])

    def close_input(self):
        self._connection.send(self._number, "I", b"")

    def kill(self, signal_number=15):
        self._connection.send(self._number, "K", bytes([signal_number]))

    def output(self):
        with self._changed:
            return b"".join(self._parts["O"])

    def error(self):
        with self._changed:
            return b"".join(self._parts["R"])

    def ended(self):
        return self.code is not None or self.failure is not None

    def wait(self, timeout=120):
        """Waits for its end. A time-out is a failure of the test, never a way to wait."""
        with self._changed:
            if not self._changed.wait_for(self.ended, timeout):
                raise AgentError(f"no end within {timeout} s: {self._shown()}; "
                                 f"output so far: {self._tail()}")
        if self.failure is not None:
            raise AgentError(f"{self.failure} ({self._shown()})")
        return Result(self.code, self.output(), self.error())

    def wait_for_output(self, marker, timeout=120):
        """Waits until its output holds marker (bytes)."""
        return self._wait_for("O", marker, timeout)

    def wait_for_error(self, marker, timeout=120):
        """The same of its standard error."""
        return self._wait_for("R", marker, timeout)

    def _wait_for(self, kind, marker, timeout):
        def said():
            return b"".join(self._parts[kind])

        def seen():
            return marker in said() or self.ended()
        with self._changed:
            if not self._changed.wait_for(seen, timeout):
                raise AgentError(f"no {marker!r} within {timeout} s from {self._shown()}; "
                                 f"output so far: {self._tail()}")
            heard = said()
        if marker not in heard:
            raise AgentError(f"ended (code {self.code}) without {marker!r}: {self._shown()}; "
                             f"output: {self._tail()}")
        return heard

    def take(self, kind, payload):
        """Called by the connection's reader, with the lock held."""
        if kind in "OR":
            self._parts[kind].append(payload)
            if self._on_output is not None:
                self._on_output(kind, payload)
        elif kind == "X":
            self.code = payload[0]
        elif kind == "F":
            self.failure = payload.decode(errors="replace")
        if self.ended() and self._on_end is not None:
            self._on_end()
        self._changed.notify_all()

    def told(self):
        """What it is, and what it said last."""
        return f"{self._shown()}\n{self._tail()}"

    def _shown(self):
        return " ".join(self.arguments)

    def _tail(self):
        return (self.output() + self.error())[-800:].decode(errors="replace")


class Connection:
    """One client of a gateway. Ports are few; each is taken with a lock beside its socket."""

    def __init__(self, folder, timeout=120):
        self.changed = threading.Condition(threading.RLock())
        self._commands, self._answers = {}, {}
        self._next_number = 1
        self._send_lock = threading.Lock()
        self._lost = None
        self._lock_file, path = _take_port(Path(folder))
        self._socket = _connect(path, timeout)
        threading.Thread(target=self._read, daemon=True).start()
        self._ask("N", os.urandom(8), timeout)

    def close(self):
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()
        self._lock_file.close()

    def start(self, arguments, terminal=False, stdin=b"", on_output=None, on_end=None):
        """Starts a command. stdin: bytes given to it, then closed; None leaves it open."""
        arguments = [str(argument) for argument in arguments]
        with self.changed:
            number = self._new_number()
            command = self._commands[number] = Command(self, number, arguments, on_output,
                                                      on_end)
        packed = b"".join(argument.encode() + b"\0" for argument in arguments)
        self.send(number, "E", bytes([FLAG_TERMINAL if terminal else 0]) + packed)
        if stdin is not None:
            command.send_input(stdin)
            command.close_input()
        return command

    def running(self):
        """The commands that have not ended."""
        with self.changed:
            return list(self._commands.values())

    def clock_offset_ns(self, rounds=8):
        """(offset, uncertainty): the gateway's wall clock less ours, by the shortest round trip."""
        best = None
        for _ in range(rounds):
            before = time.time_ns()
            answer = struct.unpack("<q", self._ask("T", b""))[0]
            after = time.time_ns()
            if best is None or after - before < best[1]:
                best = (answer - (before + after) // 2, after - before)
        return best[0], best[1] // 2

    def set_clock(self):
        """Sets the gateway's clock to ours. Returns what is left: (offset, uncertainty) in ns."""
        offset, _ = self.clock_offset_ns()
        self.send(0, "A", struct.pack("<q", -offset))
        return self.clock_offset_ns()

    def send(self, number, kind, payload):
        try:
            with self._send_lock:
                self._socket.sendall(HEADER.pack(len(payload), number, ord(kind)) + payload)
        except OSError as error:
            raise AgentError(f"the gateway is gone: {error}") from error

    def _new_number(self):
        self._next_number += 1
        return self._next_number

    def _ask(self, kind, payload, timeout=120):
        with self.changed:
            number = self._new_number()
            self.send(number, kind, payload)
            self.changed.wait_for(lambda: number in self._answers or self._lost, timeout)
            if number not in self._answers:
                raise AgentError(self._lost or f"the gateway does not answer within {timeout} s")
            return self._answers.pop(number)

    def _read(self):
        try:
            while True:
                length, number, kind = HEADER.unpack(self._receive(HEADER.size))
                payload = self._receive(length)
                with self.changed:
                    self._take(number, chr(kind), payload)
        except (OSError, EOFError) as error:
            with self.changed:
                self._lost = f"the gateway is gone: {error}"
                for command in self._commands.values():
                    command.take("F", self._lost.encode())
                self.changed.notify_all()

    def _take(self, number, kind, payload):
        if number in self._commands:
            command = self._commands[number]
            command.take(kind, payload)
            if command.ended():
                del self._commands[number]
        else:
            self._answers[number] = payload
            self.changed.notify_all()

    def _receive(self, length):
        data = bytearray()
        while len(data) < length:
            part = self._socket.recv(length - len(data))
            if not part:
                raise EOFError("connection closed")
            data += part
        return bytes(data)


def _take_port(folder):
    for path in sorted(folder.glob("agent.*.sock")):
        lock = open(path.with_suffix(".lock"), "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock, path
        except OSError:
            lock.close()
    raise AgentError(f"no free agent port in {folder}: is the gateway up, or too many clients?")


def _connect(path, timeout):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout)
    try:
        connection.connect(str(path))
    except OSError as error:
        raise AgentError(f"{path}: {error}") from error
    connection.settimeout(None)
    return connection
