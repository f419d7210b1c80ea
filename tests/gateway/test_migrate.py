# SPDX-License-Identifier: Apache-2.0
"""A guest moves by precopy, and nobody inside it can tell but by the time it took."""
from harness.case import gateways
from harness.console import check_continuous, clock_step_us
from harness.guest import MIGRATED_AWAY, Guest

PORT = 4444


def listen(gateway, **options):
    return Guest(gateway, incoming=f"tcp:0.0.0.0:{PORT}", **options).listen()


def uri(gateway):
    return f"tcp:{gateway.address}:{PORT}"


def check_moved(source, target, report, counts=10):
    """After a migration: verified, the source gone, the target counting, one history."""
    assert report.code == 0, report
    assert report.status == "completed" and report.verify == "equal", report
    target.console.wait_for_counts(counts)
    source.wait(MIGRATED_AWAY)
    check_continuous(source.console, target.console)


def move(net, words="", cpus=1, memory="256M"):
    source = Guest(net[1], words=words, cpus=cpus, memory=memory).boot()
    source.console.wait_for_counts(10)
    target = listen(net[2], cpus=cpus, memory=memory)
    report = source.migrate(uri(net[2]), "--verify")
    check_moved(source, target, report)
    return source, target, report


def ram_kib(guest, field):
    """A field of /proc/PID/smaps, for the guest's RAM."""
    smaps = guest.host.pull(f"/proc/{guest.status()['pid']}/smaps").decode()
    _, _, ram = smaps.partition("memfd:godwit-ram")
    _, _, value = ram.partition(f"\n{field}:")
    return int(value.split()[0])


@gateways(2)
def test_idle(net):
    source, target, report = move(net)
    step_us, uncertainty_us = clock_step_us(source.console, target.console)
    told = target.status()["migrate"]["__org.godwit"]
    # One round trip is allowed, as long as it was during the handover.
    assert abs(step_us) <= told["round-trip-us"] + uncertainty_us, (step_us, uncertainty_us, told)
    assert report.transferred_bytes > 10_000_000, report
    assert told["role"] == "target" and f"tcp:{net[1].address}:" in told["peer"], told
    target.power_off()


@gateways(2)
def test_fresh_memory_in_huge_pages(net):
    """They are made at the target where the source has touched all of one, and of nothing else."""
    source = Guest(net[1], words="fill=40").boot()
    source.console.wait_for_counts(3)
    touched = ram_kib(source, "Rss")
    target = listen(net[2])
    check_moved(source, target, source.migrate(uri(net[2]), "--verify"))
    huge, now = ram_kib(target, "ShmemPmdMapped"), ram_kib(target, "Rss")
    print(f"     {touched} KiB touched, then {now} KiB, of them {huge} in huge pages", flush=True)
    assert huge >= 2048, (huge, now)  # how many is up to how its memory lies
    assert now <= touched + 2048, (touched, now)
    target.power_off()


@gateways(2, long=True)
def test_under_memory_load(net):
    _, target, _ = move(net, words="load=20@10")
    target.console.wait_for_load(2)  # each pass checks every page of the one before
    check_continuous(target.console)
    target.power_off()


@gateways(2, long=True)
def test_two_vcpus(net):
    source, target, _ = move(net, cpus=2, words="smp")
    before, after = source.console.counts()[-1].cpus, target.console.counts()[-1].cpus
    assert len(after) == 2 and all(b > a for a, b in zip(before, after)), (before, after)
    target.power_off()


@gateways(2, long=True)
def test_four_vcpus(net):
    source, target, _ = move(net, cpus=4, words="smp")
    before, after = source.console.counts()[-1].cpus, target.console.counts()[-1].cpus
    assert len(after) == 4 and all(b > a for a, b in zip(before, after)), (before, after)
    target.power_off()


def there_and_back(net, moves, words=""):
    guest = Guest(net[1], name="traveller", words=words).boot()
    guest.console.wait_for_counts(3)
    consoles = [guest.console]
    for number in range(moves):
        there = net[2 - number % 2]
        target = listen(there, name="traveller")
        report = guest.migrate(uri(there), "--verify")
        check_moved(guest, target, report, counts=3)
        guest = target
        consoles.append(guest.console)
    check_continuous(*consoles)
    guest.type("echo still here")
    guest.console.wait_for_line("echo: still here")
    guest.power_off()


@gateways(2, long=True)
def test_there_and_back_five_times(net):
    there_and_back(net, 10, words="load=8@4")


@gateways(2)
def test_console_input_after_the_move(net):
    _, target, _ = move(net)
    target.type("echo typed on the target")
    target.console.wait_for_line("echo: typed on the target")
    target.power_off()


@gateways(2)
def test_second_migration_while_one_runs_is_refused(net):
    source = Guest(net[1], words="load=20@10").boot()
    target = listen(net[2])
    first = source.start_migration(uri(net[2]), "--bandwidth", "8M")
    first.wait_for_output(b'"active"')
    second = source.migrate(uri(net[2]))
    assert second.code == 1 and "migration process in progress" in second.error, second
    net[1].check("godwit", "migrate-cancel", source.name)
    assert first.wait().code == 5
    source.console.wait_for_counts(5)
    assert not target.command.ended(), target.said()
    source.power_off()


@gateways(2)
def test_cancel_then_a_second_that_succeeds(net):
    source = Guest(net[1], words="load=20@10").boot()
    target = listen(net[2])
    first = source.start_migration(uri(net[2]), "--bandwidth", "4M")
    first.wait_for_output(b'"active"')
    net[1].check("godwit", "migrate-cancel", source.name)
    report = source.migrate(uri(net[2]), "--verify")  # at once
    assert first.wait().code == 5
    check_moved(source, target, report)
    target.power_off()
