# SPDX-License-Identifier: Apache-2.0
"""What a test file says about its tests.

    from harness.case import gateways

    @gateways(2)                                  # options as for Network
    def test_ping(net):
        net[1].check("ping", "-c", "1", net[2].address)

Tests with the same gateways share them, so a test leaves nothing it needs gone: godwit is killed,
the link mended and /run/godwit and /tmp emptied between tests. @gateways(2, fresh=True) boots its
own. @gateways(2, long=True) runs only with --all.
"""


def gateways(count, long=False, fresh=False, **options):
    def mark(function):
        function.gateways = {"count": count, **options}
        function.long = long
        function.fresh = fresh
        return function
    return mark


class Skip(Exception):
    """Raised by a test that cannot run here, with the reason."""
