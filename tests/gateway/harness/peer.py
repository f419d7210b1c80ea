# SPDX-License-Identifier: Apache-2.0
"""QEMU with KVM inside a gateway, from the disk that `tools/setup peer` makes: beside godwit for the
bench, and where a test needs a device that godwit has not.

    @gateways(1, long=True, **peer.OPTIONS)
    def test(net):
        peer.mount_peer(net[1])
        net[1].check(*peer.qemu_words(256, "-kernel", "/guest/Image"))
"""
from .paths import CACHE

PEER_ROOT = "/peer"
DISK_MODULES = ["virtio_blk", "crc16", "mbcache", "jbd2", "crc32c_generic", "libcrc32c", "ext4"]

# Of gateways that have it. Whoever boots them calls `tools/setup peer` first.
OPTIONS = {"pages": "peer", "smp": 2, "memory": "2G", "disk": (CACHE / "peer.ext4").resolve()}


def mount_peer(gateway):
    """Its root, read-only, with what it needs of the gateway; once for a gateway."""
    if gateway.run("mountpoint", "-q", PEER_ROOT).code == 0:
        return
    for module in DISK_MODULES:
        gateway.check("insmod", f"/lib/{module}.ko")
    gateway.shell(f"set -e; mkdir -p {PEER_ROOT}; mount -t ext4 -o ro /dev/vda {PEER_ROOT}; "
                  f"mount -o bind /dev {PEER_ROOT}/dev; mount -t proc proc {PEER_ROOT}/proc; "
                  f"mount -t tmpfs tmp {PEER_ROOT}/tmp; mount -o bind /guest {PEER_ROOT}/guest")


def qemu_words(memory_mb, *words):
    """A machine like godwit's. Paths are inside PEER_ROOT."""
    return ["busybox", "chroot", PEER_ROOT, "/usr/bin/qemu-system-aarch64", "-accel", "kvm",
            "-cpu", "host", "-M", "virt,gic-version=3", "-smp", "1", "-m", f"{memory_mb}M",
            "-nodefaults", "-no-user-config", "-display", "none", *words]
