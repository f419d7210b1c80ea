# SPDX-License-Identifier: Apache-2.0
"""How fast a guest changes its memory is known before it moves."""
import json

from harness.case import gateways
from harness.guest import Guest
from test_migrate import check_moved, listen, uri
from test_postcopy import BATCH, NEVER_DONE, PostcopyCut


def rate(gateway, guest, seconds=2, mode="dirty-bitmap"):
    """Pages a second."""
    said = gateway.check("godwit", "dirty-rate", guest.name, "--seconds", seconds, "--json")
    answer = json.loads(said)
    assert answer["status"] == "measured" and answer["mode"] == mode, answer
    return answer["__org.godwit_pages-per-second"]


@gateways(2)
def test_a_busy_guest_is_told_from_an_idle_one(net):
    idle = Guest(net[1], name="idle").boot()
    idle.console.wait_for_counts(3)
    pages_idle = rate(net[1], idle)
    idle.power_off()
    busy = Guest(net[1], name="busy", words="load=12@60").boot()
    busy.console.wait_for_load(2)
    pages_busy = rate(net[1], busy)
    print(f"     idle {pages_idle}, busy {pages_busy} pages/s", flush=True)
    # Each page of its 12 MB once in the time, if the machine gives it that time.
    assert pages_busy > 4 * max(pages_idle, 1), (pages_idle, pages_busy)
    again = rate(net[1], busy, seconds=1)
    assert again > 4 * max(pages_idle, 1), (pages_idle, again)
    busy.console.wait_for_load(2)
    busy.power_off()


def check_refused(gateway, guest, sentence):
    result = gateway.run("godwit", "dirty-rate", guest.name)
    assert result.code == 1 and sentence in result.error, result


@gateways(2, long=True)
def test_a_guest_that_is_not_all_here_is_not_measured(net):
    """The monitor goes on: it does not wait for a page that only the source has."""
    waiting = Guest(net[2], name="waiting", incoming="tcp:0.0.0.0:5555").listen()
    check_refused(net[2], waiting, b"does not run here")
    net[2].check("godwit", "quit", waiting.name)
    cut = PostcopyCut(net, (BATCH, "before", 30))
    cut.expect_parted()
    check_refused(net[2], cut.target, b"not measured until")
    cut.expect_pulled()


@gateways(2)
def test_a_migration_need_not_wait_for_a_measurement(net):
    source = Guest(net[1], words="load=12@60").boot()
    source.console.wait_for_load(1)
    target = listen(net[2])
    measuring = net[1].start("godwit", "dirty-rate", source.name, "--seconds", "60")
    net[1].shell("until godwit dirty-rate guest 2>&1 | grep -q 'measured already'; do usleep 20000; done")
    report = source.migrate(uri(net[2]), "--verify")
    check_moved(source, target, report)
    result = measuring.wait()
    assert result.code == 1 and b"migration began" in result.error, result
    target.console.wait_for_load(1)
    assert rate(net[2], target) > 0
    target.power_off()


@gateways(2)
def test_a_migration_tells_what_it_measured(net):
    source = Guest(net[1], words="load=12@60").boot()
    source.console.wait_for_load(1)
    listen(net[2])
    migration = source.start_migration(uri(net[2]), *NEVER_DONE)
    migration.wait_for_output(b'"active"')
    check_refused(net[1], source, b"before its first round is over")
    migration.wait_for_output(b'"dirty-sync-count":2')
    assert rate(net[1], source) > 0
    net[1].check("godwit", "migrate-cancel", source.name)
    assert migration.wait().code == 5
    source.power_off()
