# SPDX-License-Identifier: Apache-2.0
"""Sockets handed in on the command line (fd:N,N,...), against monitors that this script plays."""
import os
import socket

from test_cli import COMPLETED, Case, Monitor, in_turn, main


class Handed(Case):
    def setUp(self):
        super().setUp()
        self.near, self.far = [], []
        for _ in range(3):
            near, far = socket.socketpair()
            self.near.append(near)
            self.far.append(far)
            self.addCleanup(near.close)
            self.addCleanup(far.close)
        self.uri = "fd:" + ",".join(str(near.fileno()) for near in self.near)

    def hand(self, *arguments, code=0):
        self.monitor = Monitor(self.socket, in_turn(COMPLETED))
        self.addCleanup(self.monitor.listener.close)
        fds = [near.fileno() for near in self.near]
        return self.godwit(*arguments, "--control", self.socket, code=code, pass_fds=fds)

    def check_handed(self, command):
        """The monitor has them in their order, and the same URI."""
        self.assertEqual(self.monitor.arguments(command), [{"uri": self.uri}])
        self.assertEqual(len(self.monitor.fds), 3)
        for number, fd in enumerate(self.monitor.fds):
            os.write(fd, b"%d" % number)
            self.assertEqual(self.far[number].recv(9), b"%d" % number)
            os.close(fd)

    def test_migrate_hands_them_in(self):
        self.hand("migrate", "router", self.uri)
        self.check_handed("migrate")

    def test_migrate_recover_hands_them_in(self):
        self.hand("migrate-recover", "router", self.uri)
        self.check_handed("migrate-recover")

    def test_what_is_no_use_never_reaches_the_monitor(self):
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as idle:
            for made, part in [(listener, "listens, wanted one that is connected"),
                               (idle, "is not connected")]:
                self.near[2] = made
                uri = self.uri.rsplit(",", 1)[0] + f",{made.fileno()}"
                for command in ("migrate", "migrate-recover"):
                    done = self.hand(command, "router", uri, code=2)
                    self.assertIn(f"socket 3 of 3 (fd:{made.fileno()}) {part}", done.stderr)
                    self.assertEqual(self.monitor.seen, [])
                    self.monitor.listener.close()
                    os.unlink(self.socket)

    def test_what_is_not_open_is_named(self):
        done = self.godwit("migrate", "router", "fd:700", code=2)
        self.assertIn("socket 1 of 1 (fd:700) is not open", done.stderr)


if __name__ == "__main__":
    main()
