# SPDX-License-Identifier: Apache-2.0
"""The emulated gateways themselves: what all other tests stand on."""
from harness.case import gateways


@gateways(2)
def test_kvm_in_both(net):
    for gateway in net:
        gateway.check("test", "-c", "/dev/kvm")
        # Past what `dmesg -c` cleared, to the kernel's own word at boot.
        words = gateway.shell("timeout 1 cat /dev/kmsg | grep -i 'kvm.*mode initialized'").lower()
        assert "vhe" in words or "hyp" in words, words


@gateways(2)
def test_link_cut_and_mended(net):
    one, two = net
    one.check("ping", "-c", "1", "-w", "10", two.address)
    net.link(False)
    assert one.run("ping", "-c", "1", "-W", "2", two.address).code != 0
    net.link(True)
    # One packet may be lost: the gateway's kernel hears of its carrier a moment later.
    one.shell(f"for try in 1 2 3 4 5 6 7 8 9; do ping -c 1 -W 2 {two.address} && exit; done; exit 1")


@gateways(2)
def test_commands_run_side_by_side_and_report_exactly(net):
    one = net[1]
    waiting = one.start("sh", "-c", "read line; echo got $line; exit 9", stdin=None)
    result = one.run("sh", "-c", "printf 'out\\0put'; printf error >&2; exit 3")
    assert (result.code, result.output, result.error) == (3, b"out\0put", b"error")
    waiting.send_input(b"hello\n")
    result = waiting.wait()
    assert (result.code, result.output) == (9, b"got hello\n")
    killed = one.start("sleep", "1000")
    killed.kill(9)
    assert killed.wait().code == 128 + 9
    assert one.run("no-such-program").code == 127


@gateways(2)
def test_files_pass_whole(net):
    content = bytes(range(256)) * 3000 + b"end"
    net[1].push(content, "/tmp/file")
    assert net[1].pull("/tmp/file") == content


@gateways(2)
def test_clocks_agree(net):
    for gateway in net:
        offset_ns, uncertainty_ns = gateway.clock_offset_ns()
        assert abs(offset_ns) <= uncertainty_ns + 20_000_000, (offset_ns, uncertainty_ns)
