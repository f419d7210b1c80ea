# SPDX-License-Identifier: Apache-2.0
"""What does not match is refused by name, before a page is sent, and the guest goes on."""
from harness.case import gateways
from harness.guest import Guest
from test_migrate import listen, uri

REFUSED = 4


def check_refused(net, words_wanted, source_options=None, target_options=None):
    source = Guest(net[1], **(source_options or {})).boot()
    target = listen(net[2], **(target_options or {}))
    report = source.migrate(uri(net[2]), "--verify")
    assert report.code == REFUSED, report
    for word in words_wanted:
        assert word in report.error, f"'{word}' is not in: {report.error}"
    assert not report.transferred_bytes, report
    source.console.wait_for_counts(5)
    assert not target.command.ended(), "the target must go on waiting"
    source.power_off()


@gateways(2)
def test_other_memory_size(net):
    check_refused(net, ["RAM", "268435456", "134217728"], {"memory": "256M"}, {"memory": "128M"})


@gateways(2, long=True)
def test_other_vcpu_count(net):
    check_refused(net, ["vCPU", "2", "1"], {"cpus": 2}, {"cpus": 1})


@gateways(2, each={2: {"pages": "16k"}})
def test_other_page_size(net):
    check_refused(net, ["page", "4096", "16384"])


@gateways(2, each={2: {"gic": 2}})
def test_other_gic(net):
    source = Guest(net[1]).boot()
    target = Guest(net[2], incoming="tcp:0.0.0.0:4444").start()
    target.command.wait()  # GICv2 is not served yet: the target says so itself
    assert target.command.code == 3 and "GIC" in target.said(), (target.command.code, target.said())
    source.power_off()


@gateways(2)
def test_plaintext_must_be_asked_for(net):
    source = Guest(net[1]).boot()
    listen(net[2])
    result = net[1].run("godwit", "migrate", source.name, uri(net[2]))
    assert result.code == 1 and b"--plaintext" in result.output + result.error, result
    source.console.wait_for_counts(3)
    source.power_off()


@gateways(2)
def test_another_program_listens(net):
    source = Guest(net[1]).boot()
    stranger = net[2].start("sh", "-c", "yes 'HTTP/1.1 400 what' | nc -l -p 4444", stdin=None)
    net[2].shell("until netstat -ltn | grep -q ':4444 '; do usleep 20000; done")
    report = source.migrate(uri(net[2]))
    assert report.code in (1, 4) and "does not speak godwit's protocol" in report.error, report
    stranger.kill(9)
    source.console.wait_for_counts(3)
    source.power_off()


@gateways(2)
def test_garbage_to_the_target_harms_nothing(net):
    target = listen(net[2])
    net[1].shell(f"head -c 200000 /dev/urandom | nc -w 3 {net[2].address} 4444 || :")
    target.command.wait_for_error(b"turned away")
    assert not target.command.ended(), target.said()
    source = Guest(net[1]).boot()
    assert source.migrate(uri(net[2]), "--verify").code == 0
    target.console.wait_for_counts(3)
    target.power_off()
