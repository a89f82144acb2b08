"""The server is replaced by another build while cells run, and their clients come back.

The other build is a copy of the program under another path, as an installation of a new release is. Clients listen to a
number every 10 ms, come back with the same session, and must have heard every number once: the notebook server keeps
what a kernel says while the last socket of a session is gone, and the gateway, when it goes in order, ends its sockets
behind the last word that was said on them.
"""

import os
import shutil
import socket
import time
from pathlib import Path

import pytest
from support import children
from support.deadline import wait_until
from support.listener import Listener
from support.world import World

pytestmark = pytest.mark.local

COUNT = 500
NOTEBOOKS = 3
MANY = 100
# So many are asked for at a time: all at once on a small machine would run into the deadlines of their starts.
AT_A_TIME = 5
# A hundred notebooks with a few kernels among them hold so much, and the machine must not run out of it.
GIB_FOR_MANY = 12


class Trial:
    """Some notebooks, and in the first of them kernels that remember something."""

    def __init__(self, world, count, kernels):
        self.world = world
        self.shown = []
        while len(self.shown) < count:
            asked = [world.api.create()["id"] for _ in range(min(AT_A_TIME, count - len(self.shown)))]
            for notebook in asked:
                world.api.wait_for(notebook, "RUNNING", seconds=240)
            self.shown += [world.api.show(notebook) for notebook in asked]
        self.kernels = [world.notebook(shown).start_kernel() for shown in self.shown[:kernels]]
        for number, kernel in enumerate(self.kernels):
            kernel.run(f"import os\nremembered = ['kept', {number}, os.getpid()]")
        self.remembered = [kernel.value("remembered") for kernel in self.kernels]

    def replace(self, replace):
        """Replaces the server in the middle of a cell on every kernel; the listeners afterwards."""
        listeners = [Listener(kernel, COUNT) for kernel in self.kernels]
        wait_until(lambda: all(listener.has_heard(100) for listener in listeners), "cells are under way", 60)
        replace()
        for listener in listeners:
            listener.wait(60)
            assert len(listener.gaps) == 1, f"the socket ended {len(listener.gaps)} times"
        said = [
            f"{gap.without_socket * 1000:.0f} ms without a socket, {gap.without_word * 1000:.0f} ms without a word"
            for listener in listeners
            for gap in listener.gaps
        ]
        print("\nclients were for", "; ".join(said))
        return listeners

    def check(self):
        """Nothing was restarted: same start, same process, same memory."""
        for shown in self.shown:
            now = self.world.api.show(shown["id"])
            assert (now["status"], now["token"]) == ("RUNNING", shown["token"])
            assert self.world.notebook(shown).request("GET", "/api/status").status_code == 200
        for kernel, remembered in zip(self.kernels, self.remembered, strict=True):
            assert kernel.value("[*remembered[:2], os.getpid()]") == remembered


@pytest.fixture(scope="module")
def trial():
    with World("local") as world:
        yield Trial(world, NOTEBOOKS, NOTEBOOKS)


@pytest.fixture
def other_build(trial, tmp_path):
    """The program once more, elsewhere; the next start takes it."""
    return another_path(trial.world.server.binary, tmp_path / "next")


def test_in_order_nothing_is_missed(trial, other_build):
    def replace():
        assert trial.world.server.stop() == 0, trial.world.server.text()
        trial.world.server.binary = other_build
        trial.world.start()

    for listener in trial.replace(replace):
        assert listener.numbers == list(range(COUNT)), f"missing {listener.missing()}, repeated {listener.repeated()}"
        assert [gap.close_code for gap in listener.gaps] == [1012]
    trial.check()


def test_killed_it_loses_no_more_than_what_it_had_in_its_hands(trial, other_build):
    def replace():
        trial.world.server.kill()
        trial.world.server.binary = other_build
        trial.world.start()

    for listener in trial.replace(replace):
        assert listener.numbers == sorted(set(listener.numbers)), f"repeated {listener.repeated()}"
        missing = listener.missing()
        print("missing after the kill:", missing)
        # One hole at most, and where the socket broke; everything from the first kept message on is there.
        heard = listener.gaps[0].numbers
        assert missing == list(range(heard, heard + len(missing))), f"missing {missing}; the socket broke after {heard}"
        assert heard + len(missing) < COUNT, "nothing came after the kill"
    trial.check()


def test_while_no_server_is_there_a_socket_that_was_handed_over_keeps_who_comes():
    """As under systemd with `atelier.socket`, which holds the socket while one server goes and the next one comes."""
    world = World("local")
    with socket.create_server(("127.0.0.1", 0), backlog=128) as door:
        world.server.handed = door
        with world:
            assert world.server.port == door.getsockname()[1]
            notebook = world.api.create_running()
            inode = f"socket:[{os.fstat(door.fileno()).st_ino}]"
            assert holders(inode) == {os.getpid(), world.server.pid}, "the door is open in another process"
            assert world.server.stop() == 0
            with socket.create_connection(door.getsockname()) as early:
                early.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                world.start()
                early.settimeout(30)
                assert early.recv(12) == b"HTTP/1.1 200"
            assert world.notebook(notebook).request("GET", "/api/status").status_code == 200


def holders(inode):
    """The processes, of this one and those below it, that have the socket open."""
    found = set()
    for pid in [os.getpid(), *(process.pid for process in children.descendants())]:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                if os.readlink(link) == inode:
                    found.add(pid)
            except OSError:
                continue  # closed meanwhile
    return found


@pytest.mark.long
def test_a_hundred_notebooks_run_on(tmp_path):
    available = memory_available()
    assert available >= GIB_FOR_MANY << 30, f"{MANY} notebooks need {GIB_FOR_MANY} GiB of memory, {available >> 30} are"
    with World("local", environment={"ATELIER_LOCAL__CPU_OVERCOMMIT": "1000"}) as world:
        trial = Trial(world, MANY, 2 * NOTEBOOKS)
        for replace in (world.server.stop, world.server.kill):
            before = world.leftovers.running()
            moments = {}

            def change(replace=replace, moments=moments):
                moments["asked"] = time.monotonic()
                replace()
                moments["gone"] = time.monotonic()
                world.server.binary = another_path(world.server.binary, tmp_path / replace.__name__)
                world.start()
                moments["ready"] = time.monotonic()

            listeners = trial.replace(change)
            gone, ready = moments["gone"] - moments["asked"], moments["ready"] - moments["gone"]
            print(f"{replace.__name__}: gone after {gone:.2f} s, ready with {MANY} notebooks after {ready:.2f} s more")
            assert not (ended := before - world.leftovers.running()), f"processes that ended: {ended}"
            if replace == world.server.stop:
                assert [listener.missing() for listener in listeners] == [[]] * len(listeners)
            trial.check()


def memory_available():
    """What could be used without swapping, in bytes."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


def another_path(program, folder):
    """The program once more, below another folder, as the next release is."""
    folder.mkdir()
    other = folder / "atelier"
    try:
        os.link(program, other)
    except OSError:
        shutil.copy2(program, other)
    return other
