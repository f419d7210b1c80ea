# SPDX-License-Identifier: Apache-2.0
"""The demo on a machine with a KVM of its own: two processes, no emulation. A gateway is one."""
import re

from harness.case import gateways
from harness.paths import CACHE, TOP

# The demo's code where a checkout has it, and a Python to run it, in a root whose /usr is /.
EXTRA = {"/": CACHE / "python", "/godwit/tests/gateway": TOP / "tests/gateway"}


@gateways(1, smp=2, memory="2G", extra=EXTRA)
def test_demo_runs_on_a_machine_with_kvm(net):
    net[1].shell("[ -e /usr ] || ln -s . /usr")
    text = net[1].check("python3", "/godwit/tests/gateway/demo.py", "--prebuilt", "/bin",
                        "/guest/Image", "/guest/initrd", timeout=300)
    last = text.strip().splitlines()[-1]
    assert re.fullmatch(r"demo: migrated; downtime \d+ ms; RAM verified; guest time continuous",
                        last), text
