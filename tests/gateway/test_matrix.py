# SPDX-License-Identifier: Apache-2.0
"""A guest under load moves over each transport, by one channel and by four, by precopy and by
postcopy, packed and not, by TLS and without, and the link is cut on the way, once. Every pair of
these is tried always, all combinations with --all. Another dimension is a line in COLUMNS, and what
it means in move()."""
import itertools

from harness.case import gateways
from harness.console import check_continuous
from harness.guest import Guest, Report
from test_handover import BATCH, SIGUSR1
from test_migrate import check_moved
from test_postcopy import DEMAND, LOAD, check_pulled
from test_tls import LIGHT, PSK, X509, give_kernel_records, share_certificates, share_key
from test_transports import load_vsock

COLUMNS = {
    "transport": ("tcp", "unix", "vsock", "fd"),
    "channels": (1, 4),
    "way": ("precopy", "postcopy"),
    "compress": ("none", "lz4"),
    "tls": ("plain", "psk", "x509"),
}


class Tcp:
    """Between two gateways. `there` is where the target listens, `onward` what leads to it, and
    `between` where the cutter stands in its way."""
    there, between = "tcp:0.0.0.0:4444", "tcp:127.0.0.1:5555"

    def __init__(self, net, channels, tls):
        self.net, self.tls = net, tls
        self.sockets = channels + 2
        self.onward = f"tcp:{net[2].address}:4444"

    def listen(self):
        return Guest(self.net[2], incoming=self.there, tls=self.tls).listen()

    def start(self, source, *options):
        return source.start_migration(self.between, *options)

    def mended(self, source):
        """It connects again by itself."""


class Local(Tcp):
    """Within one gateway: a second guest to the host, with records of its own."""

    def __init__(self, net, channels, tls):
        super().__init__(net, channels, tls)
        self.onward = self.there

    def listen(self, through=(), uri=None):
        return Guest(self.net[1], name="there", incoming=uri or self.there, through=through,
                     tls=self.tls, options=("--state-dir", "/tmp/there")).listen()


class Unix(Local):
    there, between = "unix:/tmp/link", "unix:/tmp/between"


class Vsock(Local):
    there, between = "vsock:local:4444", "vsock:local:5555"

    def __init__(self, net, channels, tls):
        load_vsock(net[1])
        super().__init__(net, channels, tls)


class Fd(Local):
    """Every socket is made by someone else."""
    there = "tcp:127.0.0.1:4444"

    def listen(self):
        return super().listen(through=("hand", "listen", self.there), uri="fd:3")

    def handed(self):
        """Who connects the sockets and runs what follows, and what they are called there."""
        return (("hand", "connect", self.between, self.sockets),
                "fd:" + ",".join(str(3 + number) for number in range(self.sockets)))

    def start(self, source, *options):
        through, uri = self.handed()
        return source.start_migration(uri, *options, through=through)

    def mended(self, source):
        source.expect_error("hand in new sockets")
        through, uri = self.handed()
        source.host.check(*through, "godwit", "migrate-recover", source.name, uri)


LINKS = {"tcp": Tcp, "unix": Unix, "vsock": Vsock, "fd": Fd}

# Where the cut falls: among the pages, and after some that the guest there has waited for. By TLS,
# far into the pages: the handover of a postcopy takes some tens of records, all of it some thousands.
CUTS = {"precopy": (BATCH, "after", 30), "postcopy": (DEMAND, "after", 8)}
CUT_BY_TLS = ("record", "after", 400)


def prepare(net, tls):
    """What --tls wants, and options for the source: no certificate has every transport's names. With
    a key, and over TCP, the kernel's records."""
    give_kernel_records(net, wanted=tls == "psk")
    if tls == "psk":
        share_key(net)
        return PSK, ()
    if tls == "x509":
        share_certificates(net, "good", "good")
        return X509, ("--tls-hostname", "localhost")
    return None, ()


def move(net, transport, channels, way, compress, tls):
    secret, named = prepare(net, tls)
    link = LINKS[transport](net, channels, secret)
    source = Guest(net[1], words=LIGHT if tls == "x509" else LOAD, tls=secret).boot()
    source.console.wait_for_load(1)
    target = link.listen()
    cut = CUT_BY_TLS if secret else CUTS[way]
    cutter = net[1].start("cutter", link.between, link.onward, *cut, stdin=None)
    cutter.wait_for_output(b"listening")
    options = ("--postcopy",) if way == "postcopy" else ("--precopy", "--verify")
    migration = link.start(source, "--channels", channels, "--compress", compress, *named, *options)
    cutter.wait_for_output(b"cut 1\n")
    source.expect_error("link-lost")
    cutter.kill(SIGUSR1)
    cutter.wait_for_output(b"mended 1\n")
    link.mended(source)
    report = Report(migration.wait(180))
    packed = report.last["__org.godwit"]["compression"]
    assert (packed["bytes"] > 2 * packed["compressed"] > 0) == (compress == "lz4"), report
    if way == "postcopy":
        check_pulled(source, target, report)
        assert target.status()["migrate"]["__org.godwit"]["postcopy"]["recoveries"] == 1
    else:
        check_moved(source, target, report)
        assert report.resumes == 1, report
        target.console.wait_for_load(2)
        check_continuous(target.console)
    target.power_off()


def pairwise(columns):
    """Few rows in which every two values of two columns come together: always the row that adds most."""
    def pairs(row):
        return set(itertools.combinations(enumerate(row), 2))
    rows = list(itertools.product(*columns))
    missing, chosen = set().union(*map(pairs, rows)), []
    while missing:
        best = max(rows, key=lambda row: len(pairs(row) & missing))
        chosen.append(best)
        missing -= pairs(best)
    return chosen


def add_tests():
    always = pairwise(COLUMNS.values())
    for row in itertools.product(*COLUMNS.values()):
        def test(net, row=row):
            move(net, **dict(zip(COLUMNS, row)))
        test.__name__ = "test_" + "_".join(f"{value}ch" if isinstance(value, int) else value
                                           for value in row)
        globals()[test.__name__] = gateways(2, long=row not in always)(test)


add_tests()
