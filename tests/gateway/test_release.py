# SPDX-License-Identifier: Apache-2.0
"""release-ram: in postcopy the source gives memory back as the target has it, which a lost link
survives, and a dead target does not (docs/HANDOVER.md)."""
from harness.case import gateways
from test_boot import resident_kib
from test_control import say
from test_handover import BATCH, RUNNING
from test_migrate import uri
from test_postcopy import COMPLETE, DEMAND, LOST, PostcopyCut, boot, check_pulled

RELEASE = ("--release-ram",)


def resident(net, guest):
    """KiB of the guest's RAM that its process holds, as the kernel has it."""
    pid = guest.status()["pid"]
    maps = resident_kib(net[1].pull(f"/proc/{pid}/smaps").decode())
    return sum(size for name, size in maps if "memfd:" in name)


@gateways(2)
def test_memory_falls_while_it_is_pushed(net):
    source, target = boot(net, options=["--linger"])
    before = resident(net, source)
    assert before > 40_000, before
    migration = source.start_migration(uri(net[2]), "--postcopy", *RELEASE,
                                       "--postcopy-bandwidth", "4M")
    source.expect_status("postcopy-active")
    now = before
    while now > before // 2:
        status = source.status()["migrate"]
        assert status["status"] == "postcopy-active", status
        now = resident(net, source)
    left = source.status()["migrate"]["ram"]["remaining"]
    assert left > 0, "it fell only when all had been pushed"
    print(f"     resident {before} KiB, {now} KiB with {left >> 10} KiB still to go", flush=True)
    net[1].check("godwit", "migrate-pause", source.name)
    source.expect_status("postcopy-paused")
    shown = net[1].run("godwit", "resolve", source.name)
    assert shown.code == 6 and b"cannot be run again" in shown.output, shown
    assert b"--other-is-dead" not in shown.output, shown
    net[1].check("godwit", "migrate-recover", source.name)
    assert migration.wait(180).code == 0
    target.console.wait_for_load(3)
    told = source.status()["migrate"]
    assert told["status"] == "completed", told
    assert resident(net, source) == 0, resident(net, source)
    assert told["__org.godwit"]["postcopy"]["released"] == 256 << 20, told
    assert "cannot be run again" in source.said(), source.said()
    target.power_off()


@gateways(2, long=True)
def test_links_lost_with_memory_released(net):
    """Only what the target has is gone here: the rest follows when the link is back."""
    cut = PostcopyCut(net, (RUNNING, "after", 1), (DEMAND, "after", 3), (BATCH, "before", 30),
                      (BATCH, "after", 10), (COMPLETE, "before", 1), options=RELEASE)
    cut.expect_parted()
    for _ in range(4):
        cut.go_on()
    cut.expect_pulled()


@gateways(2)
def test_the_copy_here_is_gone_when_the_target_dies(net):
    """Refused with its reason, and the operator can still end the waiting."""
    cut = PostcopyCut(net, (BATCH, "before", 30), options=RELEASE)
    cut.expect_parted()
    cut.restart_target()
    cut.mend()
    cut.source.expect_error("the guest is lost there")
    refused = net[1].run("godwit", "resolve", cut.source.name, "--run", "--other-is-dead")
    assert refused.code == 1 and b"release-ram" in refused.error, refused
    shown = net[1].run("godwit", "resolve", cut.source.name)
    assert b"cannot be run again" in shown.output and b"--give-up" in shown.output, shown
    net[1].check("godwit", "resolve", cut.source.name, "--give-up")
    report = cut.report()
    assert report.code == LOST, report
    cut.source.wait(LOST)


@gateways(2, long=True)
def test_asked_for_by_capability(net):
    """As QEMU's clients do; and check_pulled looks at every page that the guest wrote."""
    source, target = boot(net)
    answers = say(net[1], b'{"execute":"qmp_capabilities"}\n{"execute":"migrate-set-capabilities",'
                          b'"arguments":{"capabilities":[{"capability":"release-ram","state":true}]'
                          b'}}\n{"execute":"query-migrate-capabilities"}\n')
    assert {"capability": "release-ram", "state": True} in answers[-1]["return"], answers
    check_pulled(source, target, source.migrate(uri(net[2]), "--postcopy"))
    assert "release-ram" in source.said(), source.said()
    target.power_off()
