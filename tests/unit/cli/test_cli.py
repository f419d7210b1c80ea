# SPDX-License-Identifier: Apache-2.0
"""The command line as a program, against monitors that this script plays.

Usage: test_cli.py [WRAPPER] GODWIT [unittest arguments]
"""
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

from played import Close, Monitor, Refuse, in_turn

COMMAND = []
def ram(**changes):
    value = {"transferred": 104857600, "remaining": 52428800, "total": 268435456,
             "duplicate": 10, "normal": 20, "normal-bytes": 81920, "dirty-pages-rate": 256,
             "mbps": 800.0, "dirty-sync-count": 2, "pages-per-second": 1000, "page-size": 4096,
             "downtime-bytes": 0}
    return dict(value, **changes)


def migration(status, role="source", **changes):
    vendor = {"role": role, "peer": "tcp:127.0.0.1:4444", "session": "ab", "epoch": 1,
              "verify": "off"}
    vendor.update(changes.pop("vendor", {}))
    return dict({"status": status, "total-time": 2310, "setup-time": 5, "ram": ram(),
                 "__org.godwit": vendor}, **changes)


COMPLETED = migration("completed", downtime=86,
                      vendor={"downtime-us": 85500, "verify": "equal", "verify-time": 410})
STATUS = {"name": "router", "running": True, "status": "running", "memory": 268435456, "cpus": 2,
          "pid": 42, "up-time": 12000, "migrate": {}}


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.socket = os.path.join(self.folder.name, "router.sock")

    def godwit(self, *arguments, code=0, **options):
        done = subprocess.run(COMMAND + list(arguments), capture_output=True, text=True,
                              timeout=60, **options)
        self.assertEqual(done.returncode, code, (arguments, done.stdout, done.stderr))
        return done

    def control(self, *arguments, code=0):
        return self.godwit(*arguments, "--control", self.socket, code=code)

    def migrate(self, answer, *options, code, **monitor):
        self.monitor = Monitor(self.socket, answer, **monitor)
        self.addCleanup(self.monitor.listener.close)
        return self.control("migrate", "router", "tcp:127.0.0.1:4444", *options, code=code)


COMMANDS = ["run", "migrate", "migrate-cancel", "upgrade", "status", "list", "resolve", "stop", "cont",
            "quit", "keygen", "limits", "doctor", "version", "help"]


class Help(Case):
    def test_each_command_explains_itself(self):
        text = self.godwit("help").stdout
        for command in COMMANDS:
            self.assertIn("\n  " + command + " ", text)
            by_option = self.godwit(command, "--help").stdout
            self.assertEqual(by_option, self.godwit("help", command).stdout)
            self.assertTrue(by_option.startswith("godwit " + command))
            for part in ["Example:", "Exit codes:"]:
                self.assertIn(part, by_option)
            self.assertLessEqual(max(map(len, by_option.splitlines())), 110)
        self.assertEqual(self.godwit("--help").stdout, text)
        self.assertEqual(self.godwit(code=2).stdout, text)

    def test_version(self):
        self.assertRegex(self.godwit("version").stdout, r"^godwit \d+\.\d+\.\d+\n$")
        self.assertEqual(self.godwit("--version").stdout, self.godwit("version").stdout)

    def test_what_is_wrong_is_named(self):
        for arguments, sentence in [
                (["migarte"], 'no command "migarte"; did you mean migrate? (see godwit help)'),
                (["xyzzy"], 'no command "xyzzy" (see godwit help)'),
                (["run", "--memry", "1G"],
                 "run has no option --memry; did you mean --memory? (see godwit run --help)"),
                (["migrate", "a", "b", "--downtme=30ms"],
                 "migrate has no option --downtme=30ms; did you mean --downtime? (see godwit migrate "
                 "--help)"),
                (["list", "--hepl"], "list has no option --hepl; did you mean --help? (see godwit list --help)"),
                (["migrate", "a"], "migrate lacks its URI (see godwit migrate --help)"),
                (["status"], "status lacks its NAME (see godwit status --help)"),
                (["stop", "a", "b"], 'stop has no place for "b" (see godwit stop --help)'),
                (["run", "--memory"], "--memory is the last word; wanted SIZE after it"),
                (["status", "a", "--json=yes"], '--json takes no value; found "yes"'),
                (["status", "../a"], 'the name "../a" cannot be one; wanted 1 to 63 of A-Z a-z 0-9 '
                                     '. _ -, with neither . nor - first')]:
            self.assertEqual(self.godwit(*arguments, code=2).stderr, f"godwit: {sentence}\n")
        for arguments in [["run", "a", "--memory", "1X"], ["run", "a", "--cpus", "0"],
                          ["migrate", "a", "tcp:b:1", "--downtime", "3"],
                          ["migrate", "a", "tcp:b:1", "--bandwidth", "fast"],
                          ["migrate", "a", "carrier-pigeon:1"]]:
            self.assertTrue(self.godwit(*arguments, code=2).stderr.startswith("godwit: "))


class Run(Case):
    places = ["--control", "/c", "--state-dir", "/s"]

    def config(self, *arguments):
        text = self.godwit("run", *arguments, *self.places, code=20).stdout
        return dict(line.split("=", 1) for line in text.splitlines())

    def test_defaults(self):
        self.assertEqual(self.config("g", "--kernel", "K"), {
            "name": "g", "kernel": "K", "initrd": "none", "cmdline": "none", "flat": "none",
            "incoming": "none", "console": "0 none", "control": "/c", "state_dir": "/s",
            "memory": "268435456", "cpus": "1",
            "plaintext": "0 clock_stopped=0 lingering=0 once=0", "tls": "none none", "ring": "0",
            "hugepages": "0"})

    def test_everything(self):
        config = self.config(
            "--name=g", "--kernel", "K", "--initrd", "I", "--cmdline", "console=ttyAMA0 x",
            "--memory", "1G", "--cpus", "4", "--console", "unix:/tmp/c", "--guest-clock", "stop",
            "--linger", "--hugepages")
        self.assertEqual(config["cmdline"], "console=ttyAMA0 x")
        self.assertEqual((config["memory"], config["cpus"]), ("1073741824", "4"))
        self.assertEqual(config["console"], "2 /tmp/c")
        self.assertEqual(config["plaintext"], "0 clock_stopped=1 lingering=1 once=0")
        self.assertEqual(config["hugepages"], "1")
        incoming = self.config("g", "--incoming", "tcp:0.0.0.0:1", "--once", "--console", "/f:1",
                               "--guest-clock", "continue", "--plaintext")
        self.assertEqual((incoming["console"], incoming["kernel"], incoming["plaintext"]),
                         ("1 /f:1", "none", "1 clock_stopped=0 lingering=0 once=1"))
        self.assertEqual(self.config("g", "--flat", "F", "--console", "file:/f")["console"], "1 /f")

    def test_tls(self):
        self.assertEqual(self.config("g", "--flat", "F", "--tls", "x509:/d", "--tls-hostname", "h")["tls"],
                         "x509:/d h")

    def test_dirty_tracking(self):
        for value, entries in [("log", "0"), ("ring", "4096"), ("ring:512", "512")]:
            self.assertEqual(self.config("g", "--flat", "F", "--dirty", value)["ring"], entries)

    def test_nonsense_is_refused(self):
        for arguments, part in [
                (["--kernel", "K"], "lacks its NAME"),
                (["a", "--name", "b", "--kernel", "K"], "wanted one"),
                (["a"], "0 of --kernel, --flat and --incoming"),
                (["a", "--kernel", "K", "--flat", "F"], "2 of --kernel"),
                (["a", "--flat", "F", "--initrd", "I"], "--initrd is given without --kernel"),
                (["a", "--flat", "F", "--tls", "psk:/k", "--plaintext"], "--tls and --plaintext are both"),
                (["a", "--flat", "F", "--tls-hostname", "h"], "--tls-hostname is given without --tls"),
                (["a", "--flat", "F", "--once"], "--once is given without --incoming"),
                (["a", "--flat", "F", "--plaintext"], "--plaintext is given without --incoming"),
                (["a", "--flat", "F", "--console", "tpc:1234"], '"tpc:1234"; wanted stdio, file:PATH'),
                (["a", "--flat", "F", "--console", "unix:"], "wanted stdio, file:PATH"),
                (["a", "--flat", "F", "--guest-clock", "pause"], "wanted continue or stop"),
                (["a", "--flat", "F", "--dirty", "rings"], "wanted log, ring or ring:ENTRIES"),
                (["a", "--flat", "F", "--dirty", "ring:"], "--dirty ring:ENTRIES"),
                (["a", "--flat", "F", "--dirty", "ring:0"], "--dirty ring:ENTRIES"),
                (["a", "--take-over", "5"], '--take-over is "5"; wanted fd:N'),
                (["a", "--take-over", "fd:2"], "--take-over"),
                (["--take-over", "fd:5"], "lacks its NAME")]:
            self.assertIn(part, self.godwit("run", *arguments, *self.places, code=2).stderr)


class Migrate(Case):
    def test_completes(self):
        done = self.migrate(in_turn(migration("setup"), migration("active"), COMPLETED),
                            "--downtime", "50ms", "--bandwidth", "100Mbit", "--verify",
                            "--plaintext", code=0)
        self.assertEqual(self.monitor.arguments("migrate"), [{
            "uri": "tcp:127.0.0.1:4444", "__org.godwit_verify": True,
            "__org.godwit_plaintext": True, "__org.godwit_downtime-limit": 50,
            "__org.godwit_max-bandwidth": 12500000}])
        lines = done.stdout.splitlines()
        self.assertIn(" 80%  100M sent", lines[1])
        self.assertIn("round 2  50M left", lines[1])
        self.assertEqual(lines[-1], "migrated to tcp:127.0.0.1:4444: total 2.31s, downtime 85.5ms, "
                                    "100M sent, 2 rounds, RAM verified equal in 410ms")
        self.assertEqual(done.stderr, "")

    def test_replies_in_pieces(self):
        self.migrate(in_turn(migration("active"), COMPLETED), code=0, piecewise=True)
        self.assertEqual(self.monitor.arguments("migrate"), [{"uri": "tcp:127.0.0.1:4444"}])

    def test_json_is_one_object_a_line(self):
        done = self.migrate(in_turn(migration("active"), COMPLETED), "--json", code=0)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([line["status"] for line in lines], ["active", "completed"])
        self.assertEqual(lines[0]["ram"], ram())
        self.assertEqual(lines[1], COMPLETED)

    def test_failed(self):
        failed = migration("failed", **{"error-desc": "the link broke", "vendor":
                                        {"reason": "link"}})
        done = self.migrate(in_turn(failed), code=1)
        self.assertIn("failed; the guest stays here: the link broke", done.stdout)

    def test_refused_by_the_peer(self):
        refused = migration("failed", **{"error-desc": "memory differs", "vendor":
                                         {"reason": "refused"}})
        self.assertIn("memory differs", self.migrate(in_turn(refused), code=4).stdout)

    def test_refused_by_the_monitor(self):
        def answer(command, _arguments):
            if command == "migrate":
                raise Refuse("a migration is under way")
            return {}
        done = self.migrate(answer, "--json", code=1)
        self.assertEqual(done.stderr, "godwit: a migration is under way\n")
        self.assertEqual(json.loads(done.stdout), {"error": "a migration is under way"})

    def held(self, ms):
        return migration("device", vendor={"held": {
            "give-up": False, "run-token": True, "run-other-is-dead": True, "time": ms,
            "text": "COMMIT was sent and not answered"}})

    def test_held_for_long(self):
        done = self.migrate(in_turn(self.held(20), self.held(10000)), code=6)
        self.assertIn("held: COMMIT was sent and not answered (for 10s)", done.stdout)
        self.assertIn("godwit resolve", done.stderr)

    def test_held_for_a_moment(self):
        self.migrate(in_turn(self.held(20), COMPLETED), code=0)

    def test_monitor_dies(self):
        done = self.migrate(in_turn(migration("active"), Close()), code=6)
        self.assertIn("the outcome is not known: godwit resolve router", done.stderr)

    def test_memory_given_back_is_asked_for_and_told(self):
        asked = {}

        def answer(command, arguments):
            if command == "migrate":
                asked.update(arguments)
                return {}
            return COMPLETED if command == "query-migrate" else {}
        self.migrate(answer, "--postcopy", "--release-ram", code=0)
        self.assertIs(asked["__org.godwit_release-ram"], True)
        self.assertIs(asked["__org.godwit_postcopy"], True)

    def test_final_event_is_enough(self):
        def answer(command, _arguments):
            if command != "query-migrate":
                return {}
            self.monitor.event("MIGRATION_PASS", {"pass": 1})
            self.monitor.event("MIGRATION", {"status": "completed",
                                             "__org.godwit_info": COMPLETED})
            raise Close()
        done = self.migrate(answer, "--json", code=0)
        self.assertEqual(json.loads(done.stdout.splitlines()[-1]), COMPLETED)

    def start_migrate(self, answer):
        """Under way: it has said so."""
        Monitor(self.socket, answer)
        process = subprocess.Popen(COMMAND + ["migrate", "router", "unix:/x", "--control",
                                              self.socket], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        process.stdout.readline()
        return process

    def interrupt(self, outcome, refusal, code):
        state = {"cancelled": False}

        def answer(command, _arguments):
            if command == "migrate_cancel":
                state["cancelled"] = True
                if refusal:
                    raise Refuse(refusal)
            return outcome if state["cancelled"] else migration("active")
        process = self.start_migrate(answer)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
        self.assertEqual(process.returncode, code, (stdout, stderr))
        return stdout, stderr

    def test_interrupt_cancels(self):
        stdout, _ = self.interrupt(migration("cancelled"), None, 5)
        self.assertIn("cancelled; the guest runs on here", stdout)

    def test_interrupt_too_late(self):
        stdout, stderr = self.interrupt(COMPLETED, "the handover is under way", 0)
        self.assertIn("not cancelled: the handover is under way", stderr)
        self.assertIn("migrated to", stdout)

    def test_interrupted_twice_after_a_refusal(self):
        def answer(command, _arguments):
            if command == "migrate_cancel":
                raise Refuse("the guest runs on the target already")
            return migration("postcopy-active")
        process = self.start_migrate(answer)
        process.send_signal(signal.SIGTERM)
        self.assertIn("once more, and this command ends", process.stderr.readline())
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, -signal.SIGTERM)

    def test_given_up_meanwhile(self):
        given_up = migration("completed", vendor={"cancelled": "resolved by the operator"})
        done = self.migrate(in_turn(given_up), code=6)
        self.assertIn("given up here: resolved by the operator", done.stdout)

    def test_what_cannot_be_written_is_no_success(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            done = subprocess.run(COMMAND + ["limits"], stdout=full, stderr=subprocess.PIPE, text=True,
                                  check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("could not be written", done.stderr)

    def test_bar_on_a_terminal(self):
        Monitor(self.socket, in_turn(migration("active"), COMPLETED))
        master, slave = pty.openpty()
        process = subprocess.Popen(COMMAND + ["migrate", "router", "unix:/x", "--control",
                                              self.socket], stdout=slave)
        os.close(slave)
        text = b""
        try:
            while True:
                text += os.read(master, 4096)
        except OSError:
            pass
        os.close(master)
        self.assertEqual(process.wait(timeout=60), 0)
        self.assertIn(b"\r[################----]  80%", text)
        self.assertTrue(text.endswith(b"410ms\r\n"), text)

    def test_nobody_there(self):
        self.assertIn("no monitor answers for router",
                      self.control("migrate", "router", "unix:/x", code=1).stderr)

    def test_strangers(self):
        for greeting in ["SSH-2.0-OpenSSH\r\n", "{}", '{"QMP": ' + "[" * 100, "\xff" * 20000]:
            if os.path.exists(self.socket):
                os.unlink(self.socket)
            done = self.migrate(in_turn({}), code=1, greeting=greeting)
            self.assertIn("no monitor answers for router", done.stderr)

    def test_a_monitor_without_room_says_so(self):
        busy = '{"error": {"class": "GenericError", "desc": "serves at most 4: close one"}}\r\n'
        self.assertEqual(self.migrate(in_turn({}), code=1, greeting=busy).stderr,
                         "godwit: serves at most 4: close one\n")
        os.unlink(self.socket)
        self.assertIn("no monitor answers for router: what listens on the control socket does not greet",
                      self.migrate(in_turn({}), code=1, greeting="{}").stderr)

    def test_unknown_status(self):
        self.assertIn("status that this godwit does not know",
                      self.migrate(in_turn({"status": "teleporting"}), code=6).stderr)


class Words(Case):
    def play(self, answer):
        self.monitor = Monitor(self.socket, answer)
        self.addCleanup(self.monitor.listener.close)

    def test_stop_and_cont(self):
        self.play(in_turn({}))
        self.control("stop", "router")
        self.control("cont", "router")
        self.assertEqual([command for command, _ in self.monitor.seen],
                         ["qmp_capabilities", "stop", "qmp_capabilities", "cont"])

    def test_refusal(self):
        def answer(_command, _arguments):
            raise Refuse("the guest is held: see resolve")
        self.play(answer)
        for command in ["stop", "cont", "quit", "migrate-cancel"]:
            self.assertEqual(self.control(command, "router", code=1).stderr,
                             "godwit: the guest is held: see resolve\n")

    def test_quit_waits_for_the_end(self):
        def answer(_command, _arguments):
            client = self.monitor.client
            threading.Timer(0.3, lambda: client.shutdown(socket.SHUT_RDWR)).start()
            return {}
        self.play(answer)
        self.control("quit", "router")

    def test_migrate_cancel(self):
        for values, code, text in [
                ([{}], 0, "no migration was under way"),
                ([migration("active"), migration("cancelling"), migration("cancelled")], 0,
                 "the guest runs on here"),
                ([migration("active"), COMPLETED], 1, "migrated to"),
                ([COMPLETED], 0, "no migration was under way"),
                ([migration("failed", vendor={"role": "target"})], 0,
                 "no migration was under way")]:
            if os.path.exists(self.socket):
                os.unlink(self.socket)
            self.play(in_turn(*values))
            self.assertIn(text, self.control("migrate-cancel", "router", code=code).stdout)

    def test_migrate_cancel_of_a_guest_that_comes(self):
        def answer(command, _arguments):
            if command == "migrate_cancel":
                raise Refuse("it is for that side to cancel")
            return migration("active", vendor={"role": "target"})
        self.play(answer)
        refused = self.control("migrate-cancel", "router", code=1)
        self.assertIn("it is for that side to cancel", refused.stderr)


class Status(Case):
    def play(self, status):
        self.monitor = Monitor(self.socket, lambda _command, _arguments: status)
        self.addCleanup(self.monitor.listener.close)

    def test_for_people(self):
        self.play(dict(STATUS, migrate=COMPLETED, incoming="tcp:0.0.0.0:1"))
        text = self.control("status", "router").stdout
        self.assertTrue(text.startswith("router: running\n  guest      2 CPUs, 256M\n"), text)
        self.assertIn("tracking   dirty log\n", text)
        self.assertIn("incoming   tcp:0.0.0.0:1\n  migration  migrated to", text)

    def test_by_ring(self):
        self.play(dict(STATUS, **{"dirty-ring-size": 4096, "dirty-ring-full": 1}))
        self.assertIn("tracking   dirty ring of 4096 entries a CPU, 1 time full\n",
                      self.control("status", "router").stdout)

    def test_for_programs(self):
        self.play(STATUS)
        self.assertEqual(json.loads(self.control("status", "router", "--json").stdout), STATUS)

    def test_dead(self):
        state = ["--state-dir", self.folder.name]
        done = self.control("status", "lost1", *state, code=1)
        self.assertIn("no monitor answers for lost1", done.stderr)
        self.assertIn("the records of lost1 say leaving", done.stderr)
        self.assertNotIn("record", self.control("status", "other", *state, code=1).stderr)

    def test_list(self):
        options = {"env": dict(os.environ, XDG_RUNTIME_DIR=self.folder.name)}
        directory = os.path.join(self.folder.name, "godwit")
        os.mkdir(directory)
        os.chmod(self.folder.name, 0o755)
        if os.geteuid() == 0:
            options["user"] = 65534  # root's directory is another one
        text = self.godwit("list", **options).stdout
        self.assertEqual(len(text.splitlines()), 1)
        self.socket = os.path.join(directory, "router.sock")
        self.play(STATUS)
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(os.path.join(directory, "dead.sock"))
        for name in ["x.record", ".sock", "a" * 80 + ".sock"]:
            open(os.path.join(directory, name), "w").close()
        lines = self.godwit("list", **options).stdout.splitlines()
        self.assertEqual(len(lines), 3, lines)
        self.assertTrue(lines[1].startswith("dead                 no answer"), lines)
        self.assertEqual(lines[2].split(), ["router", "running", "2", "256M", "42", "-"])
        objects = [json.loads(line)
                   for line in self.godwit("list", "--json", **options).stdout.splitlines()]
        self.assertEqual([item["name"] for item in objects], ["dead", "router"])
        self.assertEqual(objects[1], STATUS)


class Resolve(Case):
    def play(self, held):
        def answer(command, arguments):
            if command == "query-migrate":
                return migration("device", vendor={"held": held} if held else {})
            if arguments.get("token") == "wrong":
                raise Refuse("the token is of another session")
            return {"text": "given up", "token": "T1"} if arguments["action"] == "give-up" else {
                "text": "it runs"}
        self.monitor = Monitor(self.socket, answer)
        self.addCleanup(self.monitor.listener.close)

    def resolve(self, *arguments, code=0, name="router"):
        return self.control("resolve", name, *arguments, "--state-dir", self.folder.name,
                            code=code)

    def test_living(self):
        self.play({"give-up": True, "run-token": False, "run-other-is-dead": True, "time": 5,
                   "text": "READY was sent"})
        text = self.resolve(code=6).stdout
        self.assertIn("router is held: READY was sent", text)
        self.assertIn("resolve router --give-up", text)
        self.assertNotIn("TOKEN", text)
        self.assertIn("--other-is-dead", text)
        self.assertEqual(self.resolve("--give-up").stdout, "given up\ntoken: T1\n")
        self.assertEqual(self.resolve("--run", "T2").stdout, "it runs\n")
        self.assertIn("another session", self.resolve("--run", "wrong", code=1).stderr)
        done = self.resolve("--run", "--other-is-dead")
        self.assertIn("there are now two of it", done.stderr)
        self.assertEqual(self.monitor.arguments("__org.godwit_resolve"), [
            {"action": "give-up"}, {"action": "run", "token": "T2"},
            {"action": "run", "token": "wrong"}, {"action": "run", "other-is-dead": True}])

    def test_not_held(self):
        self.play(None)
        self.assertIn("nothing to resolve", self.resolve().stdout)

    def test_dead(self):
        self.assertIn("say leaving", self.resolve(name="lost1", code=6).stdout)
        self.assertIn("token: T-lost1", self.resolve("--give-up", name="lost1").stdout)
        self.assertIn("no record of router", self.resolve().stdout)
        self.assertIn("no process holds lost1 here",
                      self.resolve("--run", "T", name="lost1", code=1).stderr)
        self.assertIn("is damaged", self.resolve(name="damaged", code=1).stderr)
        for name, is_warned in ("lost1", True), ("router", False):
            said = self.resolve("--run", "--other-is-dead", name=name).stderr
            self.assertEqual("there are now two of it" in said, is_warned)

    def test_nonsense(self):
        for arguments in [["--give-up", "--run"], ["--give-up", "T"], ["T"], ["--other-is-dead"],
                          ["--run"], ["--run", "T", "--other-is-dead"]]:
            self.resolve(*arguments, code=2)


class Host(Case):
    def test_limits(self):
        text = self.godwit("limits").stdout
        self.assertRegex(text, r"board \S+ \(sizes in bytes\)\n")
        self.assertRegex(text, r"first thing, 1000 x 3 +3000")
        self.assertRegex(text, r"total, .* +\d+  ")

    def test_doctor(self):
        done = subprocess.run(COMMAND + ["doctor", "--state-dir", self.folder.name],
                              capture_output=True, text=True, timeout=60)
        self.assertIn(done.returncode, [0, 3])
        self.assertEqual(done.returncode == 3, "\nmissing " in "\n" + done.stdout)


def main():
    words = sys.argv[1:]
    while words and not words[0].startswith("-") and (not COMMAND or "qemu" in COMMAND[-1]):
        COMMAND.append(words.pop(0))
    unittest.main(argv=[sys.argv[0]] + words)


if __name__ == "__main__":
    main()
