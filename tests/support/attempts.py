"""An attempt of a notebook's code at something it must not have, and the proof that the attempt itself is sound.

An attempt is a short program, and the prize that it would bring home. It runs twice: as a control where nothing stands
in its way (as root on the machine, outside of any container), where it *must* bring the prize; and in a notebook, where
it must not. Without the first run the second one proves nothing: a wrong path is out of reach, too.
"""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SCRATCH = Path("/var/tmp")
# Without the machine's and the user's own packages: what is tried needs none, and they take long to start.
PYTHON = ["-I", "-S", "-c"]

# For programs that make system calls by their numbers, which are those of x86-64.
CALL = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    libc.syscall.restype = ctypes.c_long
    result = libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
"""

READ = "brought = open({path!r}, 'rb').read().decode(errors='replace')"


@dataclass(frozen=True)
class Attempt:
    """What is tried, and what it would bring."""

    program: str
    prize: str
    # Where the control run needs other words for the same thing: it sees other numbers and other paths.
    control: str | None = None
    # What puts the control run into the right place, as the beginning of a command line.
    through: tuple = ()

    def check(self, kernel):
        """Succeeds outside, and brings nothing home from a cell."""
        self.judge(in_the_cell(kernel, self.program))

    def judge(self, inside):
        """Succeeds outside, and has brought nothing home from a cell."""
        outside = on_the_machine(self.control or self.program, *self.through)
        assert self.prize in outside, f"the control run brought nothing, so the attempt proves nothing: {outside[-600:]}"
        assert self.prize not in inside, f"within reach of a cell: {inside[-600:]}"


def on_the_machine(program, *through):
    """Runs an attempt as root, outside of any container; what it brought, or how it failed."""
    command = [*through, sys.executable, *PYTHON, f"{program}\nprint(brought)"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=SCRATCH)
    return done.stdout if done.returncode == 0 else f"ended with {done.returncode}: {done.stderr[-600:]}"


def in_the_cell(kernel, program):
    """Runs an attempt in a notebook, as a process of its own; what it brought, or how it failed."""
    command = [*PYTHON, f"{program}\nprint(brought)"]
    return kernel.run(
        f"import subprocess, sys\ndone = subprocess.run([sys.executable, *{command!r}], capture_output=True, text=True)\n"
        "print(done.stdout if done.returncode == 0 else f'ended with {done.returncode}: {done.stderr[-600:]}')"
    )


def in_the_cell_at_once(kernel, programs):
    """As `in_the_cell`, for several that wait most of the time."""
    commands = [[*PYTHON, f"{program}\nprint(brought)"] for program in programs]
    return kernel.value(
        "[r.stdout.read() + r.stderr.read() for r in [__import__('subprocess').Popen([__import__('sys').executable, *command], "
        f"stdout=-1, stderr=-1, text=True) for command in {commands!r}]]"
    )


def calls(body, **values):
    """A program that makes system calls."""
    return CALL + body.format(**values)


def names(attempts):
    """For the ids of a table's tests."""
    return {"argvalues": attempts, "ids": [attempt.__name__ for attempt in attempts]}


# What takes as much as it gets says how much that was, and keeps it until it is told to end.
HOLD = "\nimport sys\nprint('held', held, flush=True)\nsys.stdin.read()"


class Held:
    """Something that is being held, on the machine or in a notebook, by a process of its own. Whoever takes too much may
    be killed for it; any other end is a program that does not work, and tells nothing."""

    def __init__(self, said, let_go):
        self.said = said.strip()
        self.amount = int(self.said.split()[1]) if self.said.startswith("held ") else 0
        self._let_go = let_go
        if not self.said.startswith("held ") and self.said != f"ended {-signal.SIGKILL}":
            let_go()
            raise AssertionError(f"the program that takes has failed: {self.said}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._let_go()


def hold_on_the_machine(program, *through):
    """Takes it outside of any container."""
    command = [*through, sys.executable, *PYTHON, program + HOLD]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=SCRATCH, start_new_session=True
    )

    def let_go():
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.communicate()

    return Held(process.stdout.readline() or f"ended {process.wait()}", let_go)


def hold_in_a_cell(kernel, program):
    """Takes it in a notebook."""
    kernel.run("import os, signal, subprocess, sys")
    said = kernel.run(
        f"holder = subprocess.Popen([sys.executable, *{[*PYTHON, program + HOLD]!r}], stdin=-1, stdout=-1, text=True, "
        "start_new_session=True)\nprint(holder.stdout.readline() or f'ended {holder.wait()}')"
    )

    def let_go():
        kernel.run("try:\n    os.killpg(holder.pid, signal.SIGKILL)\nexcept ProcessLookupError:\n    pass\nholder.communicate()")

    return Held(said, let_go)
