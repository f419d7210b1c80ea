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


def move(gateway, listen_at, reach_at, *options, check=check_moved):
    """Source and target are two guests to the host: the second has its own sockets and records."""
    source = Guest(gateway, words=LOAD).boot()
    source.console.wait_for_load(1)
    target = Guest(gateway, name="there", incoming=listen_at,
                   options=("--state-dir", "/tmp/there")).listen()
    check(source, target, source.migrate(reach_at, *options))
    target.console.wait_for_load(3)
    return source, target


@gateways(2)
def test_over_a_unix_socket(net):
    _, target = move(net[1], "unix:/tmp/link", "unix:/tmp/link", "--verify")
    target.power_off()
    _, target = move(net[1], "unix:/tmp/link", "unix:/tmp/link", "--postcopy", check=check_pulled)
    target.power_off()


@gateways(2)
def test_over_vsock(net):
    load_vsock(net[1])
    _, target = move(net[1], "vsock:any:4444", "vsock:local:4444", "--verify")
    target.power_off()
    _, target = move(net[1], "vsock:local:4444", "vsock:local:4444", "--postcopy",
                     check=check_pulled)
    assert target.status()["migrate"]["__org.godwit"]["peer"].startswith("vsock:local:")
    target.power_off()


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
