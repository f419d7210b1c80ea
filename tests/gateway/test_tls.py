# SPDX-License-Identifier: Apache-2.0
"""TLS between two gateways: who has the key or the certificate moves its guest, who has not is told."""
import functools
import subprocess

from harness.case import gateways
from harness.guest import MIGRATED_AWAY, Guest, Report
from harness.paths import RELEASE, TOP
from test_loss import check_cut_and_mended
from test_migrate import check_moved, listen, uri
from test_postcopy import LOAD, check_pulled

KEY = "/tmp/key"
REFUSED, USAGE = 4, 2
PSK, X509 = f"psk:{KEY}", "x509:/tmp/tls"
LIGHT = "load=4@10"  # where all that it writes is sealed, and opened, by an emulated CPU


def share_key(net):
    """In three commands, as README has it."""
    net[1].check("rm", "-f", KEY)
    net[1].check("godwit", "keygen", KEY)
    net[2].push(net[1].pull(KEY), KEY, mode="600")


@functools.cache
def certificates():
    """The folders of tests/certificates.py, which the build makes once."""
    target = "tests/unit/certificates"
    subprocess.run([TOP / "tools/build", "aarch64", "--", target], check=True)
    return RELEASE / target


def share_certificates(net, *folders):
    """A folder of tests/certificates.py for each gateway, in their order."""
    for number, folder in enumerate(folders, 1):
        net[number].check("mkdir", "-p", "/tmp/tls")
        for path in (certificates() / folder).iterdir():
            net[number].push(path, f"/tmp/tls/{path.name}", mode="600")


def give_kernel_records(net, number=None, wanted=True):
    """Lets the kernels seal and open records, or none of them."""
    for gateway in net if number is None else [net[number]]:
        if wanted:
            for module in ("gf128mul", "ghash-ce", "tls"):
                gateway.shell(f"lsmod | grep -q '^{module.replace('-', '_')} ' || insmod /lib/{module}.ko")
        else:
            gateway.shell("! lsmod | grep -q '^tls ' || rmmod tls")


def count_of(gateway, name):
    """One of the kernel's counters of TLS."""
    return int(gateway.shell(f"awk '$1 == \"{name}\" {{ print $2 }}' /proc/net/tls_stat"))


def boot(net, words=LOAD, **options):
    source = Guest(net[1], words=words, tls=PSK, **options).boot()
    source.console.wait_for_load(1)
    return source, listen(net[2], tls=PSK, **options)


@gateways(2, long=True)
def test_key(net):
    """By one channel there, by four back; the key is the monitors' own, and the command's."""
    share_key(net)
    source, target = boot(net)
    check_moved(source, target, source.migrate(uri(net[2]), "--verify"))
    back = listen(net[1], name="back", tls=PSK, options=("--state-dir", "/tmp/back"))
    check_moved(target, back, target.migrate(uri(net[1]), "--verify", "--channels", "4", "--tls", PSK))
    back.console.wait_for_load(3)
    back.power_off()


@gateways(2, long=True)
def test_key_and_a_cut_link(net):
    """Postcopy by four channels; each of them shakes hands again."""
    share_key(net)
    source, target = boot(net)
    migration = source.start_migration(uri(net[2]), "--postcopy", "--channels", "4",
                                       "--postcopy-bandwidth", "8M")
    migration.wait_for_output(b'"postcopy-active"', timeout=120)
    net.link(False)
    source.expect_status("postcopy-paused", "postcopy-recover")
    net.link(True)
    check_pulled(source, target, Report(migration.wait(180)))
    target.power_off()


@gateways(2, long=True)
def test_key_and_a_link_cut_in_precopy(net):
    share_key(net)
    source, target = boot(net)
    migration = source.start_migration(uri(net[2]), "--bandwidth", "16M", "--verify")
    migration.wait_for_output(b'"active"')
    check_cut_and_mended(net, source, target, migration)


def check_told(target, words):
    """In its log; it waits on."""
    target.command.wait_for_error(words.encode())
    assert not target.command.ended(), target.said()


@gateways(2)
def test_who_is_not_let_in(net):
    """A wrong key, and one that others can read: it is said why, and the right one comes after them."""
    share_key(net)
    net[1].check("rm", "-f", "/tmp/other")
    net[1].check("godwit", "keygen", "/tmp/other")
    source, target = Guest(net[1], tls=PSK).boot(), listen(net[2], tls=PSK)
    report = source.migrate(uri(net[2]), "--tls", "psk:/tmp/other")
    assert report.code == REFUSED and "the peer has no key" in report.error, report
    check_told(target, "turned away")
    report = source.migrate(uri(net[2]), "--plaintext")
    assert report.code == 1 and "its guest goes by TLS" in report.error, report
    net[1].check("chmod", "644", KEY)
    report = source.migrate(uri(net[2]))
    assert report.code == 1 and "chmod 600" in report.error, report
    net[1].check("chmod", "600", KEY)
    check_moved(source, target, source.migrate(uri(net[2]), "--verify"))
    for words in (source.said(), target.said()):
        assert net[1].pull(KEY).decode().split(":")[1].strip() not in words
    target.power_off()


@gateways(2)
def test_a_target_without_tls(net):
    share_key(net)
    source = Guest(net[1], tls=PSK).boot()
    target = listen(net[2])
    report = source.migrate(uri(net[2]))
    assert report.code == REFUSED and "give --tls on both sides" in report.error, report
    check_told(target, "the peer speaks TLS, and this side does not")
    source.console.wait_for_counts(3)
    source.power_off()


@gateways(2)
def test_certificates(net):
    """By RSA: four channels, which a ticket makes shorter; a name that the certificate has not."""
    share_certificates(net, "source-only", "target-only")
    source, target = Guest(net[1], tls=X509).boot(), listen(net[2], tls=X509)
    report = source.migrate(uri(net[2]), "--tls-hostname", "somebody.else")
    assert report.code == REFUSED and "has not the name somebody.else" in report.error, report
    check_told(target, "turned away")
    check_moved(source, target, source.migrate(uri(net[2]), "--channels", "4", "--verify"))
    target.power_off()


@gateways(2)
def test_an_upgraded_monitor_has_its_key(net):
    share_key(net)
    source, target = boot(net)
    net[1].check("godwit", "upgrade", source.name)
    result = net[1].run("godwit", "migrate", source.name, uri(net[2]), "--json", "--verify")
    report = Report(result)
    assert report.code == 0 and report.verify == "equal", report
    target.console.wait_for_counts(5)
    source.wait(MIGRATED_AWAY)
    target.command.wait_for_error(b"came and is settled")
    target.power_off()


@gateways(2)
def test_records_by_the_kernel(net):
    """A source's pages are sealed and opened there, the other direction is the library's. Then back to
    a target whose kernel cannot, and there again from it. (A cut link is the matrix's.)"""
    give_kernel_records(net, wanted=False)  # its counters begin at 0 then
    give_kernel_records(net)
    share_key(net)
    source, target = boot(net, words=LIGHT)
    check_pulled(source, target, source.migrate(uri(net[2]), "--postcopy", "--channels", "2"))
    assert count_of(net[1], "TlsTxSw") >= 4  # control, urgent, two bulk channels
    assert count_of(net[2], "TlsRxSw") >= 4
    assert count_of(net[1], "TlsRxSw") == 0 and count_of(net[2], "TlsTxSw") == 0
    give_kernel_records(net, 1, wanted=False)
    back = listen(net[1], name="back", tls=PSK, options=("--state-dir", "/tmp/back"))
    check_moved(target, back, target.migrate(uri(net[1]), "--verify", "--tls", PSK))
    assert count_of(net[2], "TlsTxSw") >= 3
    before = count_of(net[2], "TlsRxSw")
    there = listen(net[2], name="there", tls=PSK, options=("--state-dir", "/tmp/there"))
    check_moved(back, there, back.migrate(uri(net[2]), "--verify", "--tls", PSK))
    assert count_of(net[2], "TlsRxSw") >= before + 3, before
    assert count_of(net[2], "TlsDecryptError") == 0
    there.console.wait_for_load(3)
    there.power_off()
