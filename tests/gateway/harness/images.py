# SPDX-License-Identifier: Apache-2.0
"""Builds what a gateway and its guest boot: kernels from the cache, initramfs made here."""
import os
import subprocess
import threading

from .cpio import Archive
from .paths import BUILD, CACHE, RELEASE, TOP

APPLETS = """ash awk base64 cat chmod cmp cp cut date dd df dmesg echo env false find free grep head
hexdump hostname insmod ip kill killall ln ls lsmod md5sum mkdir mkfifo mknod mktemp mount mountpoint mv nc netstat nproc
od ping ping6 pidof poweroff printf ps pwd readlink reboot rm rmmod sed seq setsid sh sha256sum sleep sort stat
stty sync tail taskset tc tee test timeout top touch tr true umount uname uniq usleep vi wc which xargs""".split()

# The tests' own programs (tests/gateway/NAME.c).
TOOLS = ["agent", "cutter", "deaf", "hand", "slay", "talk"]

# In the order in which they are loaded; others that tools/setup fetched lie in /lib.
MODULES = ["failover", "net_failover", "virtio_net"]

GUEST_INIT = """#!/bin/sh
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
exec </dev/console >/dev/console 2>&1
# fill=MB: so many megabytes that do not compress, in a tmpfs.
for word in $(cat /proc/cmdline); do
    case $word in
    fill=*) mount -t tmpfs fill /tmp && dd if=/dev/urandom of=/tmp/fill bs=1M count="${word#*=}" 2>/dev/null ;;
    esac
done
exec /bin/counter
"""

# The agent listens once all else is there, so its first answer means: usable.
GATEWAY_INIT = """#!/bin/sh
export PATH=/bin HOME=/root TERM=linux
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/pts /dev/shm /run /tmp /root
mount -t devpts pts /dev/pts
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs tmp /tmp
exec </dev/console >/dev/console 2>&1
for word in $(cat /proc/cmdline); do
    case $word in
    gateway=*) number=${word#*=} ;;
    mtu=*) mtu=${word#*=} ;;
    esac
done
hostname "gateway$number"
for module in %(modules)s; do insmod /lib/$module.ko; done
ip link set lo up
# A cable's loss must look like one: no address games, no IPv6 waiting for duplicates.
echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad
ip link set eth0 mtu "$mtu" up
ip addr add "10.0.0.$number/24" dev eth0
ip addr add "fd00::$number/64" dev eth0
for port in /sys/class/virtio-ports/*; do
    case $(cat "$port/name") in
    agent.*) setsid /bin/agent "/dev/${port##*/}" & ;;
    esac
done
# Process 1 must stay; it reaps whatever loses its parent.
while :; do wait; sleep 3600; done
"""


def build_programs(godwit=True):
    """Compiles the release binary and the programs that run inside."""
    targets = [f"tests/gateway/{tool}" for tool in TOOLS]
    targets += ["tests/guest/counter", "tests/guest/sweep/sweep.bin"]
    targets += ["tests/bench/ready", "tests/bench/bare"]
    targets += ["godwit"] if godwit else []
    subprocess.run([TOP / "tools/build", "aarch64", "--", *targets], check=True)


def small_godwit():
    """The release within board/sim's tiny limits, for tests of what does not fit."""
    subprocess.run([TOP / "tools/build", "aarch64", "--", "tests/gateway/small"], check=True)
    return _stripped(RELEASE / "tests/gateway/small")


def guest_kernel():
    return CACHE / "kernel-4k/vmlinuz"


def gateway_kernel(pages="4k"):
    return CACHE / f"kernel-{pages}" / "vmlinuz"


def guest_initramfs():
    """busybox and the counter. Its init says "guest: ready" and counts."""
    return small_initramfs("guest", GUEST_INIT, {"counter": RELEASE / "tests/guest/counter"})


def small_initramfs(name, init, programs, pages="4k", modules=()):
    """busybox, and what a guest's init needs: programs, by their names, and modules of that kernel."""
    archive = Archive()
    _add_busybox(archive)
    for program, path in programs.items():
        archive.program(f"bin/{program}", _stripped(path))
    _add_modules(archive, pages, modules)
    archive.program("init", init.encode())
    _add_mount_points(archive)
    return _store(archive, name)


_gateway_images = {}


def gateway_initramfs(pages="4k", extra=None):
    """The system of a gateway, made once in a process. extra: {path inside: file or folder outside} of
    more files."""
    key = pages, tuple((extra or {}).items())
    if key not in _gateway_images or not _gateway_images[key].exists():
        _gateway_images[key] = _make_gateway_initramfs(pages, extra)
    return _gateway_images[key]


def _make_gateway_initramfs(pages, extra):
    archive = Archive()
    _add_busybox(archive)
    _add_mount_points(archive)
    for tool in TOOLS:
        archive.program(f"bin/{tool}", _stripped(RELEASE / "tests/gateway" / tool))
    if (RELEASE / "godwit").exists():
        archive.program("bin/godwit", _stripped(RELEASE / "godwit"))
    _add_modules(archive, pages, [path.name.removesuffix(".ko.xz") for path in
                                  sorted((CACHE / f"kernel-{pages}/modules").glob("*.ko.xz"))])
    archive.program("init", (GATEWAY_INIT % {"modules": " ".join(MODULES)}).encode())
    archive.file("guest/Image", guest_kernel().read_bytes())
    archive.file("guest/initrd", guest_initramfs().read_bytes())
    archive.file("guest/sweep.bin", (RELEASE / "tests/guest/sweep/sweep.bin").read_bytes())
    for inside, outside in (extra or {}).items():
        archive.tree(inside.strip("/"), outside)
    return _store(archive, f"gateway-{pages}")


def _add_busybox(archive):
    archive.program("bin/busybox", (CACHE / "busybox").read_bytes())
    for applet in APPLETS:
        archive.link(f"bin/{applet}", "busybox")


def _add_modules(archive, pages, modules):
    import lzma  # not in every Python that only runs the demo
    for module in modules:
        packed = CACHE / f"kernel-{pages}/modules/{module}.ko.xz"
        archive.file(f"lib/{module}.ko", lzma.decompress(packed.read_bytes()))


def _add_mount_points(archive):
    for name in ("dev", "proc", "sys", "run", "tmp", "root"):
        archive.directory(name)
    archive.device("dev/console", 5, 1)


def _stripped(program):
    """The program as it is released: without symbols."""
    temporary = BUILD / f"stripped.{os.getpid()}.{threading.get_ident()}"
    subprocess.run([_strip_tool(), "--strip-all", "-o", temporary, program], check=True)
    content = temporary.read_bytes()
    temporary.unlink()
    return content


def _strip_tool():
    return "strip" if os.uname().machine == "aarch64" else "aarch64-linux-gnu-strip"


def _age(path):
    """When it was made; that of one which another process has just removed is no matter."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0


def _store(archive, name):
    """Named by content: gateways that run keep theirs, and one image serves many."""
    import hashlib
    folder = BUILD / "images"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.{os.getpid()}.{threading.get_ident()}.new"
    archive.write(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    final = folder / f"{name}-{digest}.cpio"
    os.replace(path, final)
    for old in sorted(folder.glob(f"{name}-*.cpio"), key=_age)[:-4]:
        old.unlink(missing_ok=True)
    return final
