# SPDX-License-Identifier: Apache-2.0
"""godwit upgrade as a program, against monitors that this script plays (see test_cli.py)."""
import json
import os
import socket

from test_cli import Case, Close, Monitor, Refuse, in_turn, main, migration


class Upgrade(Case):
    """A monitor that is played, and a program in place of the new godwit."""

    def upgrade(self, answer, *options, code, program="exit 0"):
        binary = os.path.join(self.folder.name, "new")
        with open(binary, "w") as file:
            file.write(f'#!/bin/sh\necho "$@" >{self.folder.name}/told\n{program}\n')
        os.chmod(binary, 0o755)
        self.monitor = Monitor(self.socket, answer)
        self.addCleanup(self.monitor.listener.close)
        fds = self.monitor.fds
        self.addCleanup(lambda: [os.close(fd) for fd in fds])
        return self.control("upgrade", "router", "--binary", binary, *options, code=code)

    @staticmethod
    def versions(*packages):
        left = list(packages)

        def answer(follow):
            def for_command(command, arguments):
                if command == "query-version":
                    return {"package": left.pop(0) if len(left) > 1 else left[0]}
                return follow(command, arguments)
            return for_command
        return answer

    def test_completes(self):
        taken = migration("completed", role="target", downtime=12, vendor={"downtime-us": 12300})
        settling = migration("completed", role="target",
                             vendor={"held": {"time": 1, "text": "not confirmed"}})
        follow = in_turn(migration("setup"), migration("device"), settling, taken)
        done = self.upgrade(self.versions("godwit 0.1.0", "godwit 0.2.0")(follow), code=0)
        self.assertEqual(done.stdout,
                         "upgraded from 0.1.0 to 0.2.0: downtime 12.3ms, nothing copied\n")
        with open(os.path.join(self.folder.name, "told")) as file:
            self.assertRegex(file.read(), r"^run router --take-over fd:\d+\n$")
        self.assertEqual(len(self.monitor.fds), 1)
        end = socket.socket(fileno=os.dup(self.monitor.fds[0]))
        self.assertEqual((end.family, end.type), (socket.AF_UNIX, socket.SOCK_SEQPACKET))
        end.settimeout(60)
        self.assertEqual(end.recv(1), b"")  # nobody but the new program had the other end
        end.close()

    def test_the_old_one_keeps_it(self):
        for status, reason, code, part in [
                ("failed", "refused", 4, "runs on in the old process: too large"),
                ("failed", "host", 3, "runs on in the old process: too large"),
                ("failed", "link", 1, "runs on in the old process: too large"),
                ("cancelled", "cancelled", 5, "cancelled"),
                ("completed", "ok", 7, "took router and died")]:
            ended = migration(status, **{"error-desc": "too large",
                                         "vendor": {"reason": reason}})
            done = self.upgrade(self.versions("godwit 1")(in_turn(ended)), code=code)
            self.assertIn(part, done.stderr)
            self.monitor.listener.close()
            os.unlink(self.socket)

    def test_refused_by_the_monitor(self):
        def answer(command, _arguments):
            if command == "__org.godwit_upgrade":
                raise Refuse("an upgrade is under way")
            return {"package": "godwit 1"}
        done = self.upgrade(answer, code=1)
        self.assertEqual(done.stderr, "godwit: an upgrade is under way\n")
        self.assertFalse(os.path.exists(os.path.join(self.folder.name, "told")))

    def test_nothing_to_start(self):
        self.monitor = Monitor(self.socket, self.versions("godwit 1")(in_turn({})))
        self.addCleanup(self.monitor.listener.close)
        done = self.control("upgrade", "router", "--binary", "/missing", code=2)
        self.assertIn("/missing cannot be started: No such file", done.stderr)

    def test_the_connection_did_not_pass(self):
        """The new process answers where the old one did."""
        taken = migration("completed", role="target", downtime=1, vendor={"downtime-us": 1000})
        follow = in_turn(migration("setup"), Close(), taken)
        done = self.upgrade(self.versions("godwit 1")(follow), "--json", code=0)
        self.assertEqual(json.loads(done.stdout)["status"], "completed")


if __name__ == "__main__":
    main()
