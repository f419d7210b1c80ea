# SPDX-License-Identifier: Apache-2.0
"""The unit tests that a process emulator cannot run: they need aarch64's own KVM, userfaultfd and
page map. The same programs as tests/unit, on a gateway's kernel."""
import subprocess

from harness.case import gateways
from harness.paths import RELEASE, TOP


def run_unit(gateway, name, wanted=None):
    """wanted: the one case that may not be skipped; else none may."""
    subprocess.run([TOP / "tools/build", "aarch64", "--", f"tests/unit-{name}"], check=True)
    gateway.push((RELEASE / "tests" / f"unit-{name}").read_bytes(), f"/tmp/unit-{name}")
    gateway.check("chmod", "755", f"/tmp/unit-{name}")
    result = gateway.run("env", "GODWIT_TRIALS=10", f"/tmp/unit-{name}")
    text = (result.output + result.error).decode(errors="replace")
    assert result.code == 0, text
    assert f"OK ] {wanted}" in text if wanted else "SKIPPED" not in text, text


@gateways(2)
def test_kvm_dirty_log_loses_nothing(net):
    run_unit(net[1], "kvm_log")


@gateways(2, smp=2)
def test_kvm_dirty_ring_loses_nothing(net):
    run_unit(net[1], "kvm_ring")


@gateways(1)
def test_machine_is_moved_as_it_was(net):
    run_unit(net[1], "machine")


@gateways(2)
def test_userfaultfd_tracker_loses_nothing(net):
    run_unit(net[1], "dirty")


@gateways(2)
def test_guest_memory(net):
    run_unit(net[1], "ram")


@gateways(2)
def test_host_parts(net):
    run_unit(net[1], "host")
