# SPDX-License-Identifier: Apache-2.0
"""What a control client hears of a migration: each status once, in its order, on both sides."""
import json

from harness.case import gateways
from harness.guest import MIGRATED_AWAY, Report
from test_converge import SMALL_LOAD, boot
from test_migrate import uri

WISH = b'''{"execute":"qmp_capabilities"}
{"execute":"migrate-set-capabilities","id":"wish","arguments":{"capabilities":[
{"capability":"events","state":true}]}}
'''.replace(b"[\n", b"[")


class Listener:
    """A client that stays connected, and writes down what it hears."""

    def __init__(self, guest):
        self._talk = guest.host.start("talk", f"/run/godwit/{guest.name}.sock", stdin=None)
        self._talk.send_input(WISH)
        self._talk.wait_for_output(b'"id": "wish"')

    def wait_for(self, status):
        """And for an answer behind it: by then all of its line has come."""
        self._talk.wait_for_output(b'"status": "%s"' % status.encode())
        self._talk.send_input(b'{"execute":"query-name","id":"behind %s"}\n' % status.encode())
        self._talk.wait_for_output(b'"id": "behind %s"' % status.encode())

    def wait_for_end(self):
        self._talk.wait()

    def heard(self):
        said = [json.loads(line) for line in self._talk.output().splitlines()]
        return [one["data"] for one in said if one.get("event") == "MIGRATION"]

    def statuses(self):
        return [one["status"] for one in self.heard()]


@gateways(2)
def test_a_guest_that_ends_on_its_way_is_not_called_running(net):
    source, target = boot(net, SMALL_LOAD)
    migration = source.start_migration(uri(net[2]), "--bandwidth", "1M", "--precopy")
    migration.wait_for_output(b'"active"')
    source.type("poweroff")
    report = Report(migration.wait())
    assert report.code == 1 and report.status == "failed", report
    assert "the guest ended by itself" in report.error, report
    source.wait(0)
    target.command.wait_for_error(b"no guest came")
    net[2].check("godwit", "quit", target.name)
    target.wait(0)


@gateways(2)
def test_one_that_is_cancelled_and_one_that_moves(net):
    source, target = boot(net, SMALL_LOAD)
    here, there = Listener(source), Listener(target)
    first = source.start_migration(uri(net[2]), "--bandwidth", "1M", "--precopy")
    first.wait_for_output(b'"active"')
    net[1].check("godwit", "migrate-cancel", source.name)
    assert first.wait().code == 5
    source.command.wait_for_error(b"stays here")
    target.command.wait_for_error(b"no guest came")
    here.wait_for("cancelled")
    there.wait_for("failed")
    assert here.statuses() == ["setup", "active", "cancelled"], here.heard()
    assert there.statuses() == ["setup", "active", "failed"], there.heard()
    told = target.status()["migrate"]
    assert told["status"] == "failed" and "went on by itself" in told["error-desc"], told
    assert source.migrate(uri(net[2]), "--verify", "--precopy").code == 0
    source.wait(MIGRATED_AWAY)
    target.command.wait_for_error(b"came and is settled")
    here.wait_for_end()
    there.wait_for("completed")
    moved = ["setup", "active", "device", "completed"]
    assert here.statuses()[3:] == moved, here.heard()
    assert there.statuses()[3:] == moved, there.heard()
    assert here.heard()[-1]["__org.godwit_info"]["status"] == "completed", here.heard()[-1]
    target.power_off()
