"""Every process that a test causes, however far it has detached itself.

The test process makes itself a *subreaper*: an orphan below it becomes its own child instead of that of the
machine's process 1. So "what did this test start that still runs?" has an exact answer, whatever else runs on the
machine, and nothing can escape it by a double fork.
"""

import ctypes
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36

_spawned = set()
_spawned_lock = threading.Lock()


@dataclass(frozen=True)
class Process:
    """A process, told from a later one with the same number by its start time."""

    pid: int
    started: int
    command: str

    def __str__(self):
        return f"{self.pid} {self.command}"


def _stat(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        text = file.read()
    name = text[text.index("(") + 1 : text.rindex(")")]
    fields = text[text.rindex(")") + 2 :].split()
    return name, fields[0], int(fields[1]), int(fields[19])  # name, state, parent, start time


def start_time(pid):
    """The start time of a process in clock ticks, or `None` when it is gone."""
    try:
        return _stat(pid)[3]
    except (FileNotFoundError, ProcessLookupError):
        return None


def processor_seconds(pid):
    """What a process has had of the processors, or `None` when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descendants(root=None):
    """Every living process below `root`, by default below this one. Zombies are not alive."""
    root = os.getpid() if root is None else root
    parents, processes = {}, {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        pid = int(entry)
        try:
            name, state, parent, started = _stat(pid)
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                arguments = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[pid] = parent
        if state not in "ZX":
            processes[pid] = Process(pid, started, (arguments or f"[{name}]")[:160])
    found = set()
    for pid, process in processes.items():
        above = parents.get(pid)
        while above and above != root:
            above = parents.get(above)
        if above == root:
            found.add(process)
    return found


class Announced(subprocess.Popen):
    """A child that somebody here waits for, so that the reaper leaves it alone."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        with _spawned_lock:
            _spawned.add(self.pid)


def adopt_orphans():
    """Makes this process the parent of all orphans below it, and buries those that die. Children that are started by
    `subprocess` from now on are told apart."""
    subprocess.Popen = Announced
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    threading.Thread(target=_bury, name="reaper", daemon=True).start()


def _bury():
    # Never `waitpid(-1)`: it would take the exit status away from `subprocess`. A child is buried by its number, and
    # only when it came here as an orphan: nobody has announced it, and it has been dead for two rounds.
    seen = set()
    while True:
        dead = set()
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                _, state, parent, started = _stat(int(entry))
            except (FileNotFoundError, ProcessLookupError):
                continue
            if state == "Z" and parent == os.getpid():
                dead.add((int(entry), started))
        with _spawned_lock:
            orphans = {item for item in dead & seen if item[0] not in _spawned}
        for pid, _ in orphans:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
        seen = dead
        time.sleep(0.1)


def end_all(processes, seconds=10.0):
    """Kills the given processes and waits until they are gone. For the clean-up after a failed test only."""
    for process in processes:
        if start_time(process.pid) == process.started:
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(p in descendants() for p in processes):
        time.sleep(0.05)
