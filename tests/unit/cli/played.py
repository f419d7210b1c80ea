# SPDX-License-Identifier: Apache-2.0
"""A monitor that a test plays."""
import json
import os
import socket
import threading

GREETING = {"QMP": {"version": {"qemu": {"micro": 0, "minor": 1, "major": 0}, "package": "p"},
                    "capabilities": []}}


class Refuse(Exception):
    """Answer the command with an error."""


class Close(Exception):
    """Close the connection in place of an answer."""


class Monitor:
    """A monitor on a Unix socket. answer(command, arguments) gives each reply's value."""

    def __init__(self, path, answer, piecewise=False, greeting=None):
        self.answer, self.piecewise = answer, piecewise
        self.greeting = json.dumps(GREETING) + "\r\n" if greeting is None else greeting
        self.seen, self.fds = [], []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        os.chmod(path, 0o666)
        self.listener.listen(8)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.talk, args=(client,), daemon=True).start()

    def send(self, client, text):
        data = text.encode()
        for piece in [data[i:i + 1] for i in range(len(data))] if self.piecewise else [data]:
            client.sendall(piece)

    def talk(self, client):
        try:
            self.send(client, self.greeting)
            buffer = b""
            while True:
                data, fds, _, _ = socket.recv_fds(client, 4096, 4)
                self.fds += fds
                if not data:
                    return
                buffer += data
                try:
                    request = json.loads(buffer)
                except ValueError:
                    continue
                buffer = b""
                self.reply(client, request)
        except (OSError, Close):
            pass
        finally:
            client.close()

    def reply(self, client, request):
        command, arguments = request["execute"], request.get("arguments", {})
        self.seen.append((command, arguments))
        self.client = client
        try:
            value = {} if command == "qmp_capabilities" else self.answer(command, arguments)
            message = {"return": value, "id": request["id"]}
        except Refuse as refusal:
            message = {"error": {"class": "GenericError", "desc": str(refusal)},
                       "id": request["id"]}
        self.send(client, json.dumps(message) + "\r\n")

    def event(self, name, data):
        self.send(self.client, json.dumps({"timestamp": {"seconds": 1, "microseconds": 2},
                                           "event": name, "data": data}) + "\r\n")

    def arguments(self, command):
        return [arguments for name, arguments in self.seen if name == command]


def in_turn(*values):
    """query-migrate answers these in turn, the last one for ever; other commands {}."""
    left = list(values)

    def answer(command, _arguments):
        if command != "query-migrate":
            return {}
        value = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(value, Exception):
            raise value
        return value
    return answer
