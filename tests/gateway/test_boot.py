# SPDX-License-Identifier: Apache-2.0
"""A guest boots on one gateway and ends in each of the ways in which guests end."""
import gzip
import re

from harness import images
from harness.case import gateways
from harness.guest import Guest


@gateways(2)
def test_linux_counts_and_powers_off(net):
    guest = Guest(net[1]).boot()
    guest.console.wait_for_counts(5)
    assert guest.status()["status"] == "running"
    guest.type("echo a receive path")
    guest.console.wait_for_line("echo: a receive path")
    guest.type("poweroff")
    guest.wait(code=0)
    assert "power" in guest.said().lower(), guest.said()
    last_words = guest.console.bytes[-200:]  # a counter's line may be around the kernel's
    assert b"Power down" in last_words, last_words


@gateways(2)
def test_reset_ends_with_its_own_code(net):
    guest = Guest(net[1]).boot()
    guest.type("reboot")
    guest.wait(code=21)
    assert "reset" in guest.said().lower(), guest.said()


@gateways(2, long=True)
def test_four_vcpus_all_run(net):
    guest = Guest(net[1], cpus=4, words="smp").boot()
    before = guest.console.wait_for_counts(5).cpus
    after = guest.console.wait_for_counts(10).cpus
    assert len(after) == 4 and all(b > a for a, b in zip(before, after)), (before, after)
    guest.power_off()


@gateways(2)
def test_gzip_compressed_kernel_boots(net):
    net[1].push(gzip.compress(images.guest_kernel().read_bytes(), 1), "/tmp/Image.gz")
    Guest(net[1], kernel="/tmp/Image.gz").boot().power_off()


@gateways(2)
def test_console_to_a_file(net):
    one = net[1]
    command = one.start("godwit", "run", "--name", "filed", "--kernel", "/guest/Image", "--initrd",
                        "/guest/initrd", "--cmdline", "console=ttyAMA0 quiet", "--console",
                        "/tmp/console.txt")
    one.wait_for_text("/tmp/console.txt", "guest: ready")
    one.check("godwit", "quit", "filed")
    assert command.wait().code == 0


@gateways(2, long=True)
def test_full_disk_under_the_console_file_harms_no_guest(net):
    one = net[1]
    one.shell("mkdir -p /tmp/small && mount -t tmpfs -o size=16k small /tmp/small")
    try:
        command = one.start("godwit", "run", "--name", "full", "--kernel", "/guest/Image",
                            "--initrd", "/guest/initrd", "--cmdline",
                            "console=ttyAMA0 earlycon=pl011,0x09000000", "--console",
                            "/tmp/small/console.txt")
        one.shell("while [ $(stat -c %s /tmp/small/console.txt 2>/dev/null || echo 0) -lt 16000 ]; "
                  "do usleep 50000; done")
        assert '"running":true' in one.check("godwit", "status", "full", "--json").replace(" ", "")
        assert not command.ended(), command.error()
        one.check("godwit", "quit", "full")
        assert command.wait().code == 0
    finally:
        one.run("umount", "/tmp/small")


def refused(gateway, code, *arguments):
    """Runs a `godwit run` that must end at once with this code; returns its sentence."""
    result = gateway.run("godwit", "run", "--name", "bad", "--console", "/tmp/bad", *arguments)
    sentence = result.error.decode(errors="replace")
    assert result.code == code, (result.code, sentence)
    return sentence


@gateways(2)
def test_a_log_that_nobody_reads_stops_nothing(net):
    """A pipe that is full from the start: the first line that waits for it would be the last."""
    one = net[1]
    command = one.start("sh", "-c", "mkfifo /tmp/log; sleep 600 < /tmp/log & exec 2> /tmp/log; "
                        "head -c 65536 /dev/zero >&2; exec godwit run unread --memory 64M "
                        "--incoming unix:/tmp/unread", stdin=None)
    one.shell("while ! [ -S /run/godwit/unread.sock ]; do usleep 50000; done")
    assert "inmigrate" in one.check("godwit", "status", "unread", "--json")
    one.check("godwit", "quit", "unread")
    assert command.wait().code == 0


@gateways(2)
def test_a_terminal_that_nobody_reads_stops_nothing(net):
    """It has room for part of a line, and would let a writer wait for the rest."""
    command = net[1].start("deaf", "godwit", "run", "--name", "deaf", "--kernel", "/guest/Image",
                           "--cmdline", "console=ttyAMA0 panic=-1", stdin=None)
    assert command.wait().code == 21, "no init: the guest panics, and resets"


@gateways(2)
def test_bad_input_gets_a_sentence(net):
    one = net[1]
    one.push(b"this is no kernel" * 1000, "/tmp/text")
    zboot = b"MZ\0\0zimg" + bytes(4096)
    one.push(zboot, "/tmp/zboot")
    assert "/tmp/text" in refused(one, 2, "--kernel", "/tmp/text")
    assert "zboot" in refused(one, 2, "--kernel", "/tmp/zboot").lower()
    for words in (["--kernel", "/no/such"], ["--kernel", "/guest/Image", "--initrd", "/no/such"],
                  ["--flat", "/tmp/text/such"], ["--kernel", "/guest/Image", "--tls", "psk:/no/such"]):
        assert "such" in refused(one, 2, *words)
    one.push(b"damaged\n", "/run/godwit/bad.outgoing")  # refused() runs that guest
    assert "move /run/godwit/bad.outgoing away" in refused(one, 1, "--kernel", "/guest/Image")
    one.check("rm", "/run/godwit/bad.outgoing")
    sentence = refused(one, 2, "--kernel", "/guest/Image", "--memory", "900G")
    assert "966367641600" in sentence and "4294967296" in sentence, sentence
    refused(one, 2, "--kernel", "/guest/Image", "--cpus", "99")
    refused(one, 2, "--no-such-option")


def resident_kib(smaps):
    """[(mapping, KiB resident)] of /proc/PID/smaps."""
    resident = []
    for line in smaps.splitlines():
        if re.match(r"^[0-9a-f]+-[0-9a-f]+ ", line):
            name = line
        elif line.startswith("Rss:"):
            resident.append((name, int(line.split()[1])))
    return resident


@gateways(2)
def test_memory_beside_guest_ram_is_small(net):
    """At most 1 MiB resident beside the guest's RAM after boot."""
    guest = Guest(net[1]).boot()
    guest.console.wait_for_counts(5)
    pid = guest.status()["pid"]
    resident = resident_kib(net[1].pull(f"/proc/{pid}/smaps").decode())
    ram = sum(size for name, size in resident if "memfd:" in name)
    beside = sum(size for name, size in resident if "memfd:" not in name)
    print(f"     resident: {beside} KiB beside {ram} KiB of guest RAM", flush=True)
    assert ram > 10000, resident
    large = "\n".join(f"{size:8} KiB  {name}" for name, size in resident if size > 16)
    assert beside <= 1024, f"{beside} KiB beside guest RAM, at most 1024 wanted:\n{large}"
    guest.power_off()
