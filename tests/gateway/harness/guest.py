# SPDX-License-Identifier: Apache-2.0
"""A guest under godwit on a gateway (or on this machine), with its console in view.

    source = Guest(one, words="load=20@10").boot()
    target = Guest(two, incoming="tcp:0.0.0.0:4444").listen()
    report = source.migrate("tcp:10.0.0.2:4444", "--verify")
    target.console.wait_for_counts(10)
    check_continuous(source.console, target.console)
"""
import json
import time

from . import log
from .agent import AgentError
from .console import Console

CMDLINE = ("console=ttyAMA0 earlycon=pl011,0x09000000 quiet panic=-1 loglevel=4 nokaslr rodata=on "
           "cryptomgr.notests initcall_blacklist=jent_mod_init,bpf_tcp_ca_kfunc_init,"
           "bpf_dummy_struct_ops_init,load_system_certificate_list")
MIGRATED_AWAY = 20
POLL_S = 0.1  # between two questions: each takes a gateway's only CPU for a while


def poll(is_so, told, timeout):
    """Waits for what gives no event. told(): what there is instead, for who reads of the failure."""
    end = time.monotonic() + timeout
    while not is_so():
        assert time.monotonic() < end, f"not so within {timeout} s: {told()}"
        time.sleep(POLL_S)


class Report:
    """What `godwit migrate --json` said: code (its exit code), lines (each a dict), and what its
    last line holds; error is the sentence of a failure."""

    def __init__(self, result):
        self.code = result.code
        self.error = result.error.decode(errors="replace").strip()
        self.lines = [json.loads(line) for line in result.text().splitlines() if line.strip()]
        self.last = self.lines[-1] if self.lines else {}
        self.status = self.last.get("status")
        self.error = (self.last.get("error-desc") or self.last.get("error") or self.error)
        ram = self.last.get("ram", {})
        own = self.last.get("__org.godwit", {})
        self.total_ms = self.last.get("total-time")
        self.downtime_ms = own.get("downtime-us", 1000 * self.last.get("downtime", 0)) / 1000
        self.transferred_bytes = ram.get("transferred")
        self.rounds = ram.get("dirty-sync-count")
        self.verify = own.get("verify")
        self.verify_ms = own.get("verify-time")
        self.resumes = own.get("resumes", 0)
        self.resent_bytes = own.get("resent-bytes", 0)
        log.write(f"godwit migrate ended: {self}")

    def __repr__(self):
        return f"Report(code={self.code}, last={self.last}, error={self.error!r})"


class Guest:
    """host: a Gateway or a LocalHost. words: for the guest's kernel command line. tls: for --tls; it
    leaves and comes so, and in plaintext without it. through: a program that starts `godwit run`."""

    def __init__(self, host, name="guest", words="", memory="256M", cpus=1, incoming=None,
                 options=(), kernel="/guest/Image", initrd="/guest/initrd", flat=None, echo=None,
                 console="stdio", tls=None, through=()):
        self.host, self.name = host, name
        self._incoming = incoming
        self._arguments = ["--name", name, "--memory", memory, "--cpus", str(cpus),
                           "--console", console]
        if flat is not None:
            self._arguments += ["--flat", flat]
        elif incoming is None:
            self._arguments += ["--kernel", kernel, "--initrd", initrd,
                                "--cmdline", f"{CMDLINE} {words}".strip()]
        else:
            self._arguments += ["--incoming", incoming]
        self._secrecy = [] if tls else ["--plaintext"]
        if tls:
            self._arguments += ["--tls", tls]
        elif incoming is not None:
            self._arguments += self._secrecy
        self._arguments += [str(option) for option in options]
        self._through = through
        self.console = Console(echo=echo)
        self.command = None

    def start(self):
        """Starts `godwit run` and returns at once."""
        self.command = self.host.start(
            *self._through, "godwit", "run", *self._arguments, stdin=None,
            on_output=lambda kind, data: self.console.feed(data) if kind == "O" else None,
            on_end=self.console.end)
        return self

    def boot(self, ready="guest: ready", timeout=120):
        """Starts it and waits for the line that says that it is there."""
        self.start()
        try:
            self.console.wait_for_line(ready, timeout)
        except AgentError as error:
            raise AgentError(f"{error}\ngodwit run said: {self.said()}") from error
        return self

    def listen(self, timeout=60):
        """Starts a target, and waits until it answers on its control socket."""
        self.start()

        def answers():
            if self.command.ended():
                raise AgentError(f"the target ended ({self.command.code}): {self.said()}")
            return self.host.run("godwit", "status", self.name, "--json", timeout=timeout).code == 0
        poll(answers, self.said, timeout)
        return self

    def type(self, line):
        """Types a line on the guest's console."""
        self.command.send_input(line.encode() + b"\n")

    def said(self):
        return self.command.error().decode(errors="replace").strip()

    def status(self):
        return json.loads(self.host.check("godwit", "status", self.name, "--json"))

    def expect(self, is_so, timeout=30):
        """Waits until its status is as is_so wants."""
        poll(lambda: is_so(self.status()), self.status, timeout)

    def expect_status(self, *words, timeout=30):
        """Waits until the migration's status is one of these."""
        self.expect(lambda told: told["migrate"].get("status") in words, timeout)

    def expect_state(self, word, timeout=30):
        """Waits until the guest itself is in this state."""
        self.expect(lambda told: told["status"] == word, timeout)

    def expect_error(self, text, timeout=60):
        """Waits until what it says of its migration has this text."""
        self.expect(lambda told: text in json.dumps(told["migrate"]), timeout)

    def start_migration(self, uri, *options, on_output=None, through=()):
        return self.host.start(*through, "godwit", "migrate", self.name, uri, *self._secrecy,
                               "--json", *options, on_output=on_output)

    def worsen_link(self, downtime_ms=1, left_bytes=16 << 20, bytes_per_s=1 << 20):
        """Lets its migration, when so much is left at most, send no more than that: less than a load
        writes, however little of the CPU it gets. What does not change has gone fast by then. Until
        then its downtime limit should be one that is never met."""
        self.expect(lambda told: told["migrate"].get("ram", {}).get("remaining", left_bytes + 1) <= left_bytes,
                    timeout=120)
        self.set_parameters({"max-bandwidth": bytes_per_s, "downtime-limit": downtime_ms})

    def set_parameters(self, parameters):
        self.execute("migrate-set-parameters", parameters)

    def execute(self, command, arguments):
        """By QMP, as another program would."""
        words = {"execute": command, "arguments": arguments}
        said = self.host.check("talk", f"/run/godwit/{self.name}.sock", stdin=(
            '{"execute":"qmp_capabilities"}\n' + json.dumps(words) + "\n").encode())
        assert '"error"' not in said, said

    def migrate(self, uri, *options, timeout=180):
        """Moves the guest; returns the Report whatever came of it."""
        return Report(self.start_migration(uri, *options).wait(timeout))

    def power_off(self, timeout=60):
        self.type("poweroff")
        result = self.command.wait(timeout)
        assert result.code == 0, f"godwit run ended with {result.code}: {self.said()}"

    def wait(self, code, timeout=60):
        """Waits until `godwit run` ends with this code."""
        result = self.command.wait(timeout)
        assert result.code == code, \
            f"godwit run ended with {result.code}, wanted {code}: {self.said()}"
        return result
