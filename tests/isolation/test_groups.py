"""Control groups for kernels, asked for by what is no kernel. What a kernel has started has its group, and gets no other."""

import json

import pytest

pytestmark = pytest.mark.local

BEGIN = """
import json, os, socket, subprocess, sys, time

def ask():
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect('/run/atelier/groups.sock')
        return asking.recv(16).decode().strip()

ASK = '''
import socket, sys
open('/proc/self/oom_score_adj', 'w').write('1000')
with socket.socket(socket.AF_UNIX) as asking:
    asking.connect('/run/atelier/groups.sock')
    print(asking.recv(16).decode().strip(), flush=True)
taken = b'x' * (int(sys.argv[1]) << 20)
print(len(taken), flush=True)
sys.stdin.read()
'''

def begin(mebibytes):
    return subprocess.Popen(
        [sys.executable, '-c', ASK, str(mebibytes)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

def end(several):
    for one in several:
        one.stdin.close()
        one.wait()
"""

MANY = """
asking = [begin(0) for _ in range(40)]
answers = [one.stdout.readline().strip() for one in asking]
end(asking)
# All of them have ended, and their places are free again.
print(json.dumps([answers, ask()]))
"""

OVER_AND_OVER = """
begun = time.monotonic()
answers = [ask() for _ in range(48)]
print(json.dumps([answers, time.monotonic() - begun]))
"""

# Any two of them are more than the notebook has.
TOGETHER = """
several = [begin(300) for _ in range(3)]
answers = [one.stdout.readline().strip() for one in several]
# Of one that was killed nothing comes but the end.
living = sum(bool(one.stdout.readline()) and one.poll() is None for one in several)
end(several)
print(json.dumps([answers, living]))
"""


@pytest.fixture
def tries(stage):
    """Runs a program beside the notebook server of a notebook of 512 MiB; what it answers."""

    def run(program):
        notebook = stage.neighbour["id"]
        ran = stage.world.server.atelier("notebook", "exec", notebook, "--", "python", "-c", BEGIN + program)
        return json.loads(ran.stdout)

    return run


def test_groups_without_number(tries):
    """Whoever comes later stays where it is."""
    answers, afterwards = tries(MANY)
    assert set(answers) == {"taken in", "refused"} and answers.count("taken in") <= 32, answers
    assert afterwards == "taken in"


def test_groups_over_and_over(tries):
    """The server's time is everybody's, and so is what the machine does to move a process."""
    answers, seconds = tries(OVER_AND_OVER)
    # 32 of 48 at once, and then four in a second; each of them by one process, which has a group since the first.
    assert answers == ["taken in"] + 47 * ["refused"] and seconds > 3.5, (answers, seconds)


def test_groups_with_more_memory(tries):
    """They are below the notebook's own."""
    answers, living = tries(TOGETHER)
    assert answers == 3 * ["taken in"] and living <= 1, (answers, living)
