# SPDX-License-Identifier: Apache-2.0
"""Lets spin look at every state of handover.pml, and of upgrade.pml. Each check returns (outcome, lines)."""
import re
import subprocess
import tempfile
from pathlib import Path

MODEL = Path(__file__).with_name("handover.pml")
UPGRADE = Path(__file__).with_name("upgrade.pml")
# As much harm as any one line of docs/HANDOVER.md needs: 1.7 million states, and 2.7 in postcopy.
HARM = ["-DCUTS=2", "-DCRASHES=2", "-DEPOCHS=3"]
POSTCOPY_HARM = ["-DCUTS=2", "-DCRASHES=1", "-DEPOCHS=3"]
# With tools/test --all: 8 million states, and 10 in postcopy.
LONG_HARM = ["-DCUTS=3", "-DCRASHES=2", "-DEPOCHS=3"]
LONG_POSTCOPY_HARM = ["-DCUTS=2", "-DCRASHES=2", "-DEPOCHS=3"]
DEPTH = "-m200000"
POSTCOPY = ["-DPOSTCOPY"]
# Rules that precopy does not have.
POSTCOPY_RULES = ("LETS_GO", "TOKEN_OF_WHAT_RAN", "BARE_PUSHES")


def spin(defines, compiler_options, options, model_file=MODEL):
    """What the verifier printed, and the end of the trail to an error when it found one."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / model_file.name
        model.write_text(model_file.read_text())

        def run(*command):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            return done.stdout + done.stderr
        said = run("spin", "-a", *defines, model.name)
        assert "Error" not in said, said
        said = run("gcc", "-O2", "-w", "-DCOLLAPSE", "-DNFAIR=3", *compiler_options, "-o", "pan", "pan.c")
        assert not said, said
        said = run("./pan", DEPTH, *options)
        found = re.search(r"errors: (\d+)", said)
        assert found and "max search depth too small" not in said, said
        trail = ""
        if found.group(1) != "0":
            trail = run("spin", "-t", "-p", "-g", *defines, model.name)
        return said, int(found.group(1)), trail


def settles(defines, model_file=MODEL):
    said, errors, trail = spin(defines, [], ["-a", "-f", "-N", "settles"], model_file)
    return ("fail" if errors else "pass"), (trail or said).splitlines()[-200:]


def check_one_history_and_it_settles():
    """In every state one copy at most may run; and when the harm ends, the guest runs at last."""
    return settles(HARM)


def check_postcopy_has_one_history_and_it_settles():
    """The same, and it runs with all of its memory."""
    return settles(POSTCOPY_HARM + POSTCOPY)


def check_it_settles_after_more_harm():
    """A third cut."""
    return settles(LONG_HARM)


def check_postcopy_settles_after_more_harm():
    """A second crash."""
    return settles(LONG_POSTCOPY_HARM + POSTCOPY)


def check_an_upgrade_has_one_history_and_settles():
    """Whichever process dies, and whenever: no operator is needed."""
    return settles([], UPGRADE)


def reaches(way, model_file=MODEL):
    said, errors, trail = spin(way, ["-DSAFETY", "-DNOCLAIM"], [], model_file)
    body = said[said.index("unreached in proctype"):said.index("unreached in claim")]
    unreached = [line for line in body.splitlines() if "state" in line and "-end-" not in line
                 and not re.search(r"\(\d+ of \d+ states\)", line)]
    return ("fail" if errors or unreached else "pass"), unreached or trail.splitlines()[-200:]


def check_every_statement_is_reached():
    """What no run reaches is not checked either."""
    return reaches([])


def check_every_statement_is_reached_in_postcopy():
    return reaches(POSTCOPY)


def check_every_statement_is_reached_in_an_upgrade():
    return reaches([], UPGRADE)


def finds(rule, model_file=MODEL):
    """Without this rule there is harm, and spin sees it."""
    def check():
        way = POSTCOPY if rule in POSTCOPY_RULES else []
        _, errors, _ = spin([f"-DBREAK_{rule}"] + way, ["-O1"], ["-a", "-f", "-N", "settles"],
                            model_file)
        return ("pass" if errors else "fail"), [f"spin finds nothing wrong without {rule}"]
    check.__name__ = f"check_harm_is_found_when_{rule.lower()}"
    return check


ALL = [check_one_history_and_it_settles, check_postcopy_has_one_history_and_it_settles,
       check_an_upgrade_has_one_history_and_settles, check_every_statement_is_reached,
       check_every_statement_is_reached_in_postcopy, check_every_statement_is_reached_in_an_upgrade] + [
    finds(rule, model_file) for model_file in (MODEL, UPGRADE)
    for rule in sorted(set(re.findall(r"BREAK_(?!\.)(\w+)", model_file.read_text())))]
LONG = [check_it_settles_after_more_harm, check_postcopy_settles_after_more_harm]
