# SPDX-License-Identifier: Apache-2.0
"""tools/gateway: emulated gateways to play with."""
import argparse
import os
import sys
import termios
import threading
import tty
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import images  # noqa: E402
from harness.agent import AgentError  # noqa: E402
from harness.gateway import FAST_CPU  # noqa: E402
from harness.network import Network, running_gateways  # noqa: E402
from harness.paths import GATEWAYS  # noqa: E402


def find(number):
    for gateway in running_gateways():
        if gateway.number == number:
            return gateway.attach()
    sys.exit(f"tools/gateway: gateway {number} is not up; tools/gateway up starts some")


def up(options):
    if running_gateways():
        sys.exit("tools/gateway: some are up already; tools/gateway down ends them")
    print("gateway: building godwit and what runs beside it", flush=True)
    images.build_programs(godwit=not options.without_godwit)
    print(f"gateway: starting {options.count} emulated gateways", flush=True)
    network = Network(GATEWAYS, options.count, cpu=options.cpu, gic=options.gic,
                      pages=options.pages, smp=options.smp, memory=options.memory).up()
    for gateway in network:
        print(f"gateway: {gateway.number} is up at {gateway.address}, clock within "
              f"{gateway.clock_uncertainty_ns / 1e6:.1f} ms")
        gateway.detach()
    print("gateway: a guest's kernel and initrd are in /guest of each; "
          "try: tools/gateway exec 1 -- godwit doctor")


def execute(options):
    # Separated by "--" as in a shell's tools, or not.
    words = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not words:
        sys.exit("tools/gateway: exec: no command")
    sys.exit(run_here(find(options.number), words, terminal=False))


def shell(options):
    terminal = sys.stdin.isatty()  # a file's end would not be one to a terminal
    script = "cd /root; exec sh -i" if terminal else "cd /root; exec sh"
    sys.exit(run_here(find(options.number), ["sh", "-c", script], terminal=terminal))


def run_here(gateway, words, terminal):
    """Runs with this process's input and output; returns the exit code."""
    def show(kind, payload):
        os.write(1 if kind == "O" else 2, payload)

    saved = termios.tcgetattr(0) if terminal else None
    try:
        if terminal:
            tty.setraw(0)
        feed = terminal or not sys.stdin.isatty()
        command = gateway.start(*words, terminal=terminal, stdin=None if feed else b"",
                                on_output=show)
        if feed:
            threading.Thread(target=feed_input, args=(command,), daemon=True).start()
        return command.wait(timeout=None).code
    finally:
        if saved is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, saved)


def feed_input(command):
    try:
        while data := os.read(0, 4096):
            command.send_input(data)
        command.close_input()
    except (OSError, AgentError):
        pass


def link(options):
    gateways = running_gateways()
    if not gateways:
        sys.exit("tools/gateway: none is up")
    for gateway in gateways:
        gateway.set_link(options.state == "up")


def down(_options):
    for gateway in running_gateways():
        gateway.stop()
        print(f"gateway: {gateway.number} is down")


def main():
    parser = argparse.ArgumentParser(
        prog="tools/gateway",
        description="Emulated aarch64 gateways with a real /dev/kvm, on a common link, godwit in "
                    "each. Addresses are 10.0.0.1, 10.0.0.2, and so on.")
    actions = parser.add_subparsers(required=True, metavar="up|exec|shell|link|down")
    action = actions.add_parser("up", help="start N (default 2) and leave them running")
    action.add_argument("count", nargs="?", type=int, default=2, metavar="N")
    action.add_argument("--cpu", default=FAST_CPU, help="cortex-a72, max, ... (default: %(default)s)")
    action.add_argument("--gic", type=int, choices=(2, 3), default=3)
    action.add_argument("--pages", choices=("4k", "16k"), default="4k", help="of the gateway's kernel")
    action.add_argument("--smp", type=int, default=1, help="cores of each")
    action.add_argument("--memory", default="1G")
    action.add_argument("--without-godwit", action="store_true",
                        help="do not build it: the gateways get the last one built, if any")
    action.set_defaults(run=up)
    action = actions.add_parser("exec", help="run a command on gateway N, with its exit code")
    action.add_argument("number", type=int, metavar="N")
    action.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    action.set_defaults(run=execute)
    action = actions.add_parser("shell", help="a shell on gateway N")
    action.add_argument("number", type=int, metavar="N")
    action.set_defaults(run=shell)
    action = actions.add_parser("link", help="cut (down) or mend (up) the link")
    action.add_argument("state", choices=("up", "down"))
    action.set_defaults(run=link)
    action = actions.add_parser("down", help="end them all, as a power cut would")
    action.set_defaults(run=down)
    options = parser.parse_args()
    if options.run is up and not 1 <= options.count <= 8:
        parser.error(f"{options.count} gateways wanted; 1 to 8 can be")
    try:
        options.run(options)
    except (AgentError, RuntimeError) as error:
        sys.exit(f"tools/gateway: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


main()
