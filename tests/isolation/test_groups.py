"""Control groups for kernels, asked for by whatever a notebook runs."""

import json

import pytest

pytestmark = pytest.mark.local

ASK = """
import json, os, socket, subprocess, sys, time

ASK = '''
import socket, sys
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
print(json.dumps(answers))
"""

OVER_AND_OVER = """
def ask():
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect('/run/atelier/groups.sock')
        return asking.recv(16).decode().strip()
begun = time.monotonic()
answers = {ask() for _ in range(48)}
print(json.dumps([sorted(answers), time.monotonic() - begun]))
"""

# Any two of them are more than the notebook has.
TOGETHER = """
several = []
for _ in range(3):
    several.append(begin(300))
    with open(f'/proc/{several[-1].pid}/oom_score_adj', 'w') as file: file.write('1000')
answers = [one.stdout.readline().strip() for one in several]
# Of one that was killed its end comes.
living = sum(bool(one.stdout.readline()) for one in several)
# It may have been killed since.
living -= sum(one.poll() is not None for one in several)
end(several)
print(json.dumps([answers, living]))
"""


@pytest.fixture
def asker(stage):
    """A kernel that can begin processes which ask for groups. Its notebook has 512 MiB."""
    with stage.world.notebook(stage.neighbour).new_kernel() as kernel:
        kernel.run(ASK)
        yield kernel


def test_groups_without_number(asker):
    """Whoever comes later stays where it is."""
    answers = json.loads(asker.run(MANY))
    assert set(answers) == {"taken in", "refused"} and answers.count("taken in") <= 32, answers
    # All of them have ended, and their places are free again.
    assert "taken in" in json.loads(asker.run(MANY))


def test_groups_over_and_over(asker):
    """The server's time is everybody's, and so is what the machine does to move a process."""
    answers, seconds = json.loads(asker.run(OVER_AND_OVER, seconds=60))
    # 32 of 48 at once, and then four in a second.
    assert answers == ["refused"] and seconds > 3.5


def test_groups_with_more_memory(asker):
    """They are below the notebook's own."""
    answers, living = json.loads(asker.run(TOGETHER, seconds=120))
    assert answers == ["taken in"] * 3 and living <= 1, (answers, living)
