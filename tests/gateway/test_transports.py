# SPDX-License-Identifier: Apache-2.0
"""A guest moves between two monitors of one gateway, over what connects them there: a Unix socket, and
AF_VSOCK by its loopback. Another, of the library's embedder, moves out of a guest to its host."""
import subprocess

from harness import images, peer
from harness.case import gateways
from harness.paths import RELEASE, TOP
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


@gateways(2, long=True)  # test_matrix.py does so always, with a link cut
def test_over_a_unix_socket(net):
    source, target = boot(net[1]), listen(net[1], "unix:/tmp/link", "there")
    check_moved(source, target, source.migrate("unix:/tmp/link", "--verify"))
    target.console.wait_for_load(3)
    target.power_off()


@gateways(2, long=True)
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


# ---- The embedder of tests/, whose guest is memory that threads write to ----

GUEST_CID = 3
GUEST_MODULES = ("vsock", "vmw_vsock_virtio_transport_common", "vmw_vsock_virtio_transport")
HOST_MODULES = ("vsock", "vmw_vsock_virtio_transport_common", "vhost_iotlb", "vhost", "vhost_vsock")

GUEST_INIT = """#!/bin/sh
mount -t devtmpfs dev /dev
mount -t proc proc /proc
exec </dev/console >/dev/console 2>&1
for module in %(modules)s; do insmod /lib/$module.ko; done
for word in $(cat /proc/cmdline); do
    case $word in case=*) name=${word#*=} ;; esac
done
embedder away "$name" 1 vsock:host:4444
echo "guest: away ended with $?"
poweroff -f
"""


def build_embedder():
    subprocess.run([TOP / "tools/build", "aarch64", "--", "tests/embedder/embedder"], check=True)
    return RELEASE / "tests/embedder/embedder"


def start_embedder_target(gateway, case, uri):
    gateway.shell("rm -rf /tmp/embedder; mkdir /tmp/embedder")
    target = gateway.start("embedder", "target", case, "1", uri, "/tmp/embedder", stdin=None)
    target.wait_for_output(b"listening vsock:")
    return target


def check_embedder_target(target):
    """The guest is there, whole, and goes on."""
    said = target.wait(60).text()
    assert "verified" in said and "result ok" in said and "damaged" not in said, said


@gateways(2)
def test_the_embedder_over_vsock(net):
    load_vsock(net[1])
    net[1].push(build_embedder(), "/bin/embedder", mode="755")
    target = start_embedder_target(net[1], "channels-postcopy-cut", "vsock:any:4444")
    net[1].check("embedder", "away", "channels-postcopy-cut", "1", "vsock:local:4444")
    check_embedder_target(target)


@gateways(1, long=True, **peer.OPTIONS)
def test_the_embedder_from_a_guest_to_its_host(net):
    """Over virtio-vsock: the guest runs under QEMU, whose vhost-vsock godwit has no device for yet."""
    peer.mount_peer(net[1])
    for module in HOST_MODULES:
        net[1].shell(f"lsmod | grep -q '^{module} ' || insmod /lib/{module}.ko")
    embedder = build_embedder()
    net[1].push(embedder, "/bin/embedder", mode="755")
    init = GUEST_INIT % {"modules": " ".join(GUEST_MODULES)}
    initrd = images.small_initramfs("vsock-guest", init, {"embedder": embedder}, "peer", GUEST_MODULES)
    net[1].push(initrd, "/guest/vsock.initrd")
    net[1].push(images.gateway_kernel("peer").read_bytes(), "/guest/vsock.Image")  # its modules'
    for case in ("verify", "postcopy", "channels-postcopy-cut"):
        target = start_embedder_target(net[1], case, "vsock:any:4444")
        said = net[1].check(*peer.qemu_words(
            256, "-kernel", "/guest/vsock.Image", "-initrd", "/guest/vsock.initrd",
            "-append", f"console=ttyAMA0 quiet panic=-1 case={case}", "-serial", "stdio",
            "-device", f"vhost-vsock-pci,guest-cid={GUEST_CID}"), timeout=300)
        assert "guest: away ended with 0" in said, said
        check_embedder_target(target)
