# SPDX-License-Identifier: Apache-2.0
"""A guest moves between two monitors of one gateway, over what connects them there: a Unix socket, and
AF_VSOCK by its loopback."""
from harness.case import gateways
from harness.guest import Guest
from test_migrate import check_moved
from test_postcopy import LOAD, check_pulled
from test_unit import run_unit

VSOCK_MODULES = ("vsock", "vmw_vsock_virtio_transport_common", "vsock_loopback")


def load_vsock(gateway):
    for module in VSOCK_MODULES:
        gateway.shell(f"lsmod | grep -q '^{module} ' || insmod /lib/{module}.ko")


def boot(gateway):
    source = Guest(gateway, words=LOAD).boot()
    source.console.wait_for_load(1)
    return source


def listen(gateway, uri, name):
    """A second guest to the host, with records of its own."""
    return Guest(gateway, name=name, incoming=uri, options=("--state-dir", f"/tmp/{name}")).listen()


@gateways(2)
def test_over_a_unix_socket(net):
    source, target = boot(net[1]), listen(net[1], "unix:/tmp/link", "there")
    check_moved(source, target, source.migrate("unix:/tmp/link", "--verify"))
    target.console.wait_for_load(3)
    target.power_off()


@gateways(2)
def test_over_vsock(net):
    """There by precopy, and on by postcopy."""
    load_vsock(net[1])
    source, target = boot(net[1]), listen(net[1], "vsock:any:4444", "there")
    check_moved(source, target, source.migrate("vsock:local:4444", "--verify"))
    last = listen(net[1], "vsock:local:5555", "further")
    check_pulled(target, last, target.migrate("vsock:local:5555", "--postcopy"))
    assert last.status()["migrate"]["__org.godwit"]["peer"].startswith("vsock:local:")
    last.power_off()


@gateways(2)
def test_vsock_that_is_not_there_is_named(net):
    source = Guest(net[1]).boot()
    report = source.migrate("vsock:local:4444")
    assert report.code == 1 and "vsock:local:4444: " in report.error, report
    source.console.wait_for_counts(3)
    source.power_off()


@gateways(2)
def test_the_transport_on_this_kernel(net):
    load_vsock(net[1])
    run_unit(net[1], "transport", wanted="all_bytes_arrive_over_vsock")
