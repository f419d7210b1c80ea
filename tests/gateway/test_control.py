# SPDX-License-Identifier: Apache-2.0
"""Whatever a control client says, the guest goes on, and the next client is served."""
import json

from harness.case import gateways
from harness.guest import Guest
from test_migrate import listen, uri

SOCKET = "/run/godwit/guest.sock"
ASK = b'{"execute":"qmp_capabilities"}\n{"execute":"query-status","id":"still here"}\n'


def say(gateway, data):
    """What the monitor answered, a line each, the greeting first."""
    answer = gateway.check("talk", SOCKET, stdin=data)
    lines = [json.loads(line) for line in answer.splitlines()]
    assert "QMP" in lines[0], lines
    return lines[1:]


def check_served(gateway, guest):
    answers = say(gateway, ASK)
    assert answers[-1]["id"] == "still here" and answers[-1]["return"]["running"], answers
    guest.console.wait_for_counts(2)


@gateways(2)
def test_garbage_is_answered_in_words(net):
    guest = Guest(net[1]).boot()
    for garbage in (b"what?\n", b"{]}\n", b"[" * 3000 + b"\n", bytes(range(256)) + b"\n",
                    b'{"execute": 7}\n', b'{"execute":"rm -rf"}\n', b'{"execute":"\xff\xfe"}\n'):
        answers = say(net[1], garbage + ASK)
        # Its error, the capabilities, and the question behind it: garbage costs only itself.
        assert answers[0]["error"]["desc"], (garbage, answers)
        assert answers[-1].get("id") == "still here", (garbage, answers)
    check_served(net[1], guest)
    guest.power_off()


@gateways(2)
def test_half_a_line_is_no_command(net):
    guest = Guest(net[1]).boot()
    assert say(net[1], b'{"execute":"qmp_capabilities"}\n{"execute":"quit"')[-1] == {"return": {}}
    check_served(net[1], guest)
    guest.power_off()


@gateways(2)
def test_sockets_that_did_not_come_are_missed(net):
    guest = Guest(net[1]).boot()
    answers = say(net[1], b'{"execute":"qmp_capabilities"}\n'
                          b'{"execute":"migrate","arguments":{"uri":"fd:5,6,7"}}\n')
    assert "fd:5,6,7 names 3 sockets, and 0 came" in answers[-1]["error"]["desc"], answers
    check_served(net[1], guest)
    guest.power_off()


@gateways(2)
def test_ten_megabytes_are_refused(net):
    guest = Guest(net[1]).boot()
    answers = say(net[1], b"x" * 10_000_000)
    assert len(answers) == 1 and "byte" in answers[0]["error"]["desc"], answers
    answers = say(net[1], b'{"execute":"' + b"x" * 10_000_000 + b'"}\n' + ASK)
    assert "bytes" in answers[0]["error"]["desc"], answers
    check_served(net[1], guest)
    guest.power_off()


@gateways(2)
def test_clients_that_say_nothing_keep_nobody_out(net):
    guest = Guest(net[1]).boot()
    for _ in range(6):  # more than there are places
        net[1].start("talk", SOCKET, stdin=None).wait_for_output(b"QMP")
    check_served(net[1], guest)
    guest.power_off()


@gateways(2)
def test_who_says_quit_twice_hears_of_it_once(net):
    guest = Guest(net[1]).boot()
    client = net[1].start("talk", SOCKET, stdin=None)
    client.send_input(b'{"execute":"qmp_capabilities"}\n{"execute":"quit"}\n{"execute":"quit"}\n')
    guest.wait(0)
    client.wait()
    assert client.output().count(b"SHUTDOWN") == 1, client.output()


@gateways(2)
def test_clients_that_say_nothing_keep_nobody_out_of_a_migration(net):
    source = Guest(net[1]).boot()
    silent = net[1].start("talk", SOCKET, stdin=None)
    silent.wait_for_output(b"QMP")
    target = listen(net[2])
    report = source.migrate(uri(net[2]), "--verify")
    assert report.code == 0, report
    target.console.wait_for_counts(3)
    silent.wait()
    target.power_off()
