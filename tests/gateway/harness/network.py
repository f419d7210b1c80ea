# SPDX-License-Identifier: Apache-2.0
"""Gateways on a common link. A test has:

    gateways = Network(folder, 2)      # not yet running
    gateways.up()                      # boots all at once; usable when it returns
    one, two = gateways
    one.check("ping", "-c", "1", two.address)
    gateways.link(False)               # cut; True mends
    gateways.down()
"""
import os
import shutil
import zlib
from pathlib import Path

from .gateway import Gateway
from .paths import GATEWAYS


class Network:
    """Options of Gateway for all: cpu, gic, pages, smp, memory, mtu, extra, disk, touched (its memory is
    there from the start, not found at its first touch); each={2: {...}} for one."""

    def __init__(self, folder, count, each=None, **options):
        self.folder, self.count = Path(folder), count
        each = each or {}
        self.gateways = [
            Gateway(self.folder / str(number), number, self, **{**options, **each.get(number, {})})
            for number in range(1, count + 1)]

    def __iter__(self):
        return iter(self.gateways)

    def __getitem__(self, number):
        """By number, from 1."""
        return self.gateways[number - 1]

    def up(self, timeout=180):
        try:
            for gateway in self.gateways:
                gateway.launch()
            for gateway in self.gateways:
                gateway.attach(timeout)
                gateway.set_clock()
        except BaseException:
            self.down()
            raise
        return self

    def down(self):
        for gateway in self.gateways:
            gateway.stop()

    def link(self, up):
        """Both ends of a cut cable lose the carrier."""
        for gateway in self.gateways:
            gateway.set_link(up)

    def netdev(self, number):
        """Two gateways: datagrams over Unix sockets, the fastest link there is here. More: one
        multicast group on the loopback interface, so that no gateway depends on another."""
        if self.count <= 2:
            own, peer = f"../link{number}.sock", f"../link{3 - number}.sock"
            return (f"dgram,id=n0,local.type=unix,local.path={own},"
                    f"remote.type=unix,remote.path={peer}")
        port = 20000 + zlib.crc32(str(self.folder.resolve()).encode()) % 20000
        return (f"dgram,id=n0,remote.type=inet,remote.host=230.0.0.1,remote.port={port},"
                f"local.type=inet,local.host=127.0.0.1,local.port={port}")


def running_gateways(folder=GATEWAYS):
    """Those started before, by this or another process, lowest number first."""
    found = []
    for path in sorted(Path(folder).glob("[0-9]*"), key=lambda p: int(p.name)):
        gateway = Gateway(path, int(path.name), None)
        if gateway.running():
            found.append(gateway)
    return found


def own_folder(purpose):
    """A folder for this process's gateways, so that two runs at once keep apart. What a run that
    died left behind is ended and removed."""
    own = GATEWAYS / f"{purpose}.{os.getpid()}"
    for path in GATEWAYS.glob(f"{purpose}.*"):
        if Path(f"/proc/{path.suffix[1:]}").exists():
            continue
        try:
            path.rename(own)
        except FileNotFoundError:  # another that starts was quicker
            continue
        for leftover in running_gateways(own):
            leftover.stop()
        shutil.rmtree(own, ignore_errors=True)
    return own
