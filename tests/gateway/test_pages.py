# SPDX-License-Identifier: Apache-2.0
"""Memory in other pages than the usual: huge ones (hugetlb), and hosts whose pages are 16 KiB."""
from contextlib import contextmanager

from harness.case import gateways
from harness.guest import Guest
from test_handover import BATCH, RUNNING
from test_migrate import check_moved, listen, uri
from test_postcopy import DEMAND, LOAD, RECEIVED, PostcopyCut, boot, check_pulled

HUGE = {"memory": "128M", "options": ["--hugepages"]}
POOL = "/sys/kernel/mm/hugepages/hugepages-2048kB"
HOST_LACKS = 3


def free_pages(gateway):
    return int(gateway.check("cat", f"{POOL}/free_hugepages"))


@contextmanager
def huge_pages(*hosts, count=64):
    """So many on each of these gateways, while the test lasts."""
    for gateway in hosts:
        gateway.shell(f"echo {count} > {POOL}/nr_hugepages")
        assert free_pages(gateway) == count, free_pages(gateway)
    try:
        yield
    finally:
        for gateway in hosts:
            gateway.shell(f"echo 0 > {POOL}/nr_hugepages")


@gateways(2, long=True)
def test_huge_precopy(net):
    with huge_pages(net[1], net[2]):
        source = Guest(net[1], words=LOAD, **HUGE).boot()
        assert free_pages(net[1]) < 64, "the guest's memory is not in huge pages"
        source.console.wait_for_load(1)
        target = listen(net[2], **HUGE)
        check_moved(source, target, source.migrate(uri(net[2]), "--verify"))
        target.console.wait_for_load(2)
        target.power_off()


@gateways(2)
def test_huge_postcopy(net):
    """Each fault brings 2 MiB: how long that takes is printed."""
    with huge_pages(net[1], net[2]):
        source, target = boot(net, **HUGE)
        check_pulled(source, target, source.migrate(uri(net[2]), "--postcopy"))
        target.power_off()


@gateways(2, long=True)
def test_huge_on_one_side_only(net):
    """There and back: only the target's pages decide in what units memory follows."""
    with huge_pages(net[2]):
        source = Guest(net[1], name="traveller", words=LOAD, memory="128M").boot()
        source.console.wait_for_load(1)
        target = listen(net[2], name="traveller", **HUGE)
        check_pulled(source, target, source.migrate(uri(net[2]), "--postcopy"))
        back = listen(net[1], name="traveller", memory="128M")
        check_pulled(target, back, target.migrate(uri(net[1]), "--postcopy"))
        back.power_off()


@gateways(2)
def test_huge_links_lost_while_it_runs_there(net):
    """Half a huge page that came is as good as none."""
    with huge_pages(net[1], net[2]):
        cut = PostcopyCut(net, (RUNNING, "after", 1), (DEMAND, "before", 1), (RECEIVED, "before", 1),
                          (BATCH, "before", 5), (BATCH, "after", 11), guest=HUGE)
        cut.expect_parted()
        for _ in range(4):
            cut.go_on()
        cut.expect_pulled()


@gateways(1)
def test_huge_pages_that_are_not_there(net):
    """Said before the guest starts: how many are wanted, how many there are, what to write where."""
    with huge_pages(net[1], count=10):
        told = net[1].run("godwit", "doctor")
        assert b"10 of 10 of 2 MiB free" in told.output, told
        refused = net[1].run("godwit", "run", "guest", "--flat", "/guest/Image", "--memory", "64M",
                             "--hugepages")
        assert refused.code == HOST_LACKS, refused
        for words in (b"wanted 32", b"10 of this host's 10 are free", b"echo 32 > ", b"nr_hugepages"):
            assert words in refused.error, refused
        odd = net[1].run("godwit", "run", "guest", "--flat", "/guest/Image", "--memory", "65M",
                         "--hugepages")
        assert odd.code == 2 and b"2097152" in odd.error, odd


@gateways(2, pages="16k")
def test_postcopy_of_16k_pages(net):
    """The hosts have pages of 16 KiB, the guest its own of 4 KiB."""
    source, target = boot(net)
    report = source.migrate(uri(net[2]), "--postcopy")
    assert report.last["ram"]["page-size"] == 16384, report
    check_pulled(source, target, report)
    target.power_off()


@gateways(2, pages="16k", long=True)
def test_links_lost_with_16k_pages(net):
    cut = PostcopyCut(net, (RUNNING, "after", 1), (DEMAND, "before", 1), (BATCH, "before", 10),
                      (BATCH, "after", 5))
    cut.expect_parted()
    for _ in range(3):
        cut.go_on()
    cut.expect_pulled()
