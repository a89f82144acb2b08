"""Faults around a server with real notebooks, chosen by a seed: the process dies, or stands still; something that it
started is killed; its disk is full; somebody else holds its database.

Each fault has a method of its own here, which brings it about in the middle of an operation or on a running notebook,
lets everything converge, and asks the campaign's questions: where does the notebook rest, did the bystander notice, is
a user's file still there, is anything left behind? What a fault may do is also said: which statuses it may end in.
"""

import contextlib
import os
import random
import signal
import sqlite3
import threading
import time
from pathlib import Path

import requests

from . import children
from .api import RefusedError
from .campaign import ENDS, PHASES, STEPS, Campaign
from .deadline import wait_until

# The longest that an operation takes on an idle machine, roughly: moments after it are wasted.
SPAN = {"simulated": 0.03, "local": 2.5}
FAILED = {
    "create": {"CREATE_FAILED", "START_FAILED"},
    "start": {"START_FAILED"},
    "stop": {"ERROR"},
    "delete": {"DELETE_FAILED"},
}
STARTS = ("create", "start")
# How a creation and a start are refused while the disk is nearly full.
NO_ROOM = ("ModelArts.6528", "ModelArts.6360")
# Kinds of faults with their weights.
WEIGHTS = {
    "dies_at_a_point": 8,
    "dies_while_taking_back": 4,
    "dies_at_a_moment": 6,
    "stands_still": 3,
    "database_is_locked": 2,
    "launcher_is_killed": 3,
    "init_is_killed": 2,
    "server_is_killed": 2,
    "disk_is_full": 2,
}


def plan(seed, count):
    """The faults of a campaign: a kind and a seed of its own for each, so that one can be repeated alone."""
    chance = random.Random(seed)
    kinds = list(WEIGHTS)
    # Each kind at least once, however short the campaign is.
    chosen = kinds + chance.choices(kinds, list(WEIGHTS.values()), k=max(0, count - len(kinds)))
    chance.shuffle(chosen)
    return [(number, kind, chance.getrandbits(32)) for number, kind in enumerate(chosen[:count])]


class Faults(Campaign):
    """A campaign that can do more to a server than kill it."""

    def bring_about(self, kind, seed, pause=60.0):
        """One fault. `pause`: how long a server stands still, in seconds."""
        chance = random.Random(seed)
        if kind == "stands_still":
            self.stands_still(chance, pause)
        else:
            getattr(self, kind)(chance)

    def dies_at_a_point(self, chance):
        """Between the effect of a step and its record, or after the record."""
        kind = chance.choice(sorted(ENDS))
        step, phase = chance.choice(STEPS[kind]), chance.choice(PHASES)
        self.die_at(f"op::{kind}::{step}::{phase}", kind)

    def dies_while_taking_back(self, chance):
        """The last step fails, and the server dies while the others are taken back."""
        kind = chance.choice(STARTS)
        step, phase = chance.choice(STEPS[kind]), chance.choice(PHASES)
        self.die_at(f"undo::{kind}::{step}::{phase}", kind, "initialize-instance", {"START_FAILED"})

    def dies_at_a_moment(self, chance):
        """Wherever it is."""
        self.die_after(chance.choice(sorted(ENDS)), chance.random() * SPAN[self.runtime])

    def stands_still(self, chance, pause):
        """Stopped by a signal in the middle of an operation, and let go on: late, but as if nothing had happened."""
        kind = chance.choice(sorted(ENDS))
        self.begin()
        name, notebook = self.prepare(kind)
        self.ask(kind, name, notebook)
        # Not waits for anything: the moment and the pause are what is tried.
        time.sleep(chance.random() * SPAN[self.runtime] / 2)
        with self.stopped():
            time.sleep(pause)
        self.world.api.hang_up()
        self.converge(name, notebook, True, {ENDS[kind]})

    @contextlib.contextmanager
    def stopped(self):
        """The server does nothing meanwhile."""
        process = self.world.server.process
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def database_is_locked(self, chance):
        """Somebody else writes to the database for longer than the server waits. What is refused meanwhile was not
        done; what was begun goes on afterwards."""
        kind = chance.choice(sorted(ENDS))
        name, notebook = self.prepare(kind)
        answers = []
        asking = threading.Thread(target=lambda: answers.append(self.ask_or_be_refused(kind, name, notebook)))
        database = sqlite3.connect(self.world.server.data_dir / "atelier.db", isolation_level=None, timeout=30)
        before_the_command = chance.random() < 0.5
        try:
            if before_the_command:
                database.execute("begin immediate")
                asking.start()
            else:
                asking.start()
                database.execute("begin immediate")
            time.sleep(chance.uniform(1, 9))
            database.execute("rollback")
        finally:
            database.close()
        asking.join(60)
        assert answers, "no answer within a minute after the database was let go"
        self.converge(name, notebook, answers[0], {ENDS[kind]} | FAILED[kind])

    def ask_or_be_refused(self, kind, name, notebook, codes=()):
        """Whether the request was granted; a refusal must be one of the server's own failure, or have one of `codes`."""
        try:
            return self.ask(kind, name, notebook)
        except RefusedError as refused:
            assert refused.status >= 500 or refused.code in codes, f"refused as the caller's mistake: {refused}"
            return False

    def launcher_is_killed(self, chance):
        """The child that makes the container dies at a random moment of its short life."""
        # The moment may come too late: then the notebook comes up, and the next one is tried.
        for _ in range(20):
            kind = chance.choice(STARTS)
            name, notebook = self.prepare(kind)
            asking = threading.Thread(target=self.ask, args=(kind, name, notebook))
            asking.start()
            launcher = wait_until(self.launcher, "there is a launcher", 60, 0)
            killed = kill_after(launcher, chance.random() * 0.08)
            asking.join(60)
            self.converge(name, notebook, True, {ENDS[kind]} | FAILED[kind])
            if killed:
                return
        raise AssertionError("no launcher lived long enough to be killed")

    def launcher(self):
        """The child of the server that makes a container at this moment."""
        server = self.world.server.pid
        launchers = (pid for pid in children_of(server) if b"launch-instance" in command_of(pid))
        return next((pid for pid in launchers if self.mounts_of(pid) not in (None, self.mounts_of(server))), None)

    @staticmethod
    def mounts_of(pid):
        """The mount namespace of a process; none when it has ended. A launcher that waits is in the server's."""
        try:
            return os.readlink(f"/proc/{pid}/ns/mnt")
        except OSError:
            return None

    def init_is_killed(self, chance):
        """The first process of a container dies, and with it everything in it. The notebook is in ERROR, says why, and can
        be started again with all its files."""
        name, notebook = self.prepare("stop")
        way = self.world.notebook(self.world.api.show(notebook))
        body = {"type": "file", "format": "text", "content": name}
        assert way.request("PUT", "/api/contents/proof.txt", json=body).status_code == 201
        os.kill(self.world.first_process(notebook), signal.SIGKILL)
        api = self.world.api
        wait_until(lambda: api.status(notebook) == "ERROR", f"{notebook} is seen to be broken", 60)
        assert api.show(notebook)["fail_reason"], "no reason"
        api.start(notebook)
        kept = self.world.notebook(api.wait_for_running(notebook)).request("GET", "/api/contents/proof.txt")
        assert kept.status_code == 200 and kept.json()["content"] == name, f"the user's file: {kept.text[:200]}"
        self.converge(name, notebook, True, {"RUNNING"})

    def server_is_killed(self, chance):
        """The notebook server dies, and is started again in its container."""
        name, notebook = self.prepare("stop")
        api = self.world.api
        os.kill(wait_until(lambda: server_of(self.world, notebook), "there is a notebook server"), signal.SIGKILL)
        wait_until(lambda: "server.restarted" in api.events(notebook), f"{notebook} serves again", 120)
        self.converge(name, notebook, True, {"RUNNING"})

    def disk_is_full(self, chance):
        """Not a byte can be written for a while. Whatever was asked for meanwhile is refused or fails with a reason;
        afterwards everything can be asked for again."""
        kind = chance.choice(sorted(ENDS))
        name, notebook = self.prepare(kind)
        self.disk.fill()
        try:
            answered = self.ask_or_be_refused(kind, name, notebook, NO_ROOM)
            time.sleep(chance.random() * SPAN[self.runtime])
            self.must_serve(self.bystander["id"])
        finally:
            self.disk.free()
        wait_until(self.is_ready, "the server is ready again", 60)
        self.converge(name, notebook, answered, {ENDS[kind]} | FAILED[kind])

    def is_ready(self):
        """What the server says of itself."""
        answer = requests.get(f"{self.world.server.url}/readyz", timeout=30)
        return answer.status_code == 200

    def converge(self, name, notebook, answered, ends):
        """As after a death, but the server lives. What was refused may be found as it was before."""
        notebook = notebook or self.find(name)
        if not answered and notebook is not None:
            ends = ends | {"RUNNING", "STOPPED"}
        self.must_be_well(name, notebook, answered, ends)


def server_of(world, notebook):
    """The notebook server; none when it does not run."""
    inside = children_of(world.first_process(notebook))
    return next((pid for pid in inside if b"--ServerApp.sock" in command_of(pid)), None)


def children_of(pid):
    """The children of a process, in the order of their birth."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += [int(child) for child in (task / "children").read_text(encoding="ascii").split()]
    return sorted(found, key=lambda child: children.start_time(child) or 0)


def command_of(pid):
    """The command line of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def kill_after(pid, seconds):
    """Kills a process a moment later; whether it was still there then."""
    if pid is None:
        return False
    started = children.start_time(pid)
    time.sleep(seconds)
    if started is None or children.start_time(pid) != started or not command_of(pid):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False
