"""A server that dies takes its zygotes along, whatever they are doing, and leaves what came of them running."""

import json
import os

import pytest
from support.deadline import wait_until
from support.world import World

pytestmark = pytest.mark.local


def zygotes(server):
    """The processes below a server that wait to be forked, those on their way into a container included."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if b"/run/atelier/zygote/" in file.read() and server in ancestors(pid):
                    found.add(int(pid))
        except OSError:
            pass
    return found


def ancestors(pid):
    """The parents of a process, up to the first."""
    while pid != "0":
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            pid = file.read().rpartition(")")[2].split()[1]
        yield int(pid)


def gone(processes):
    """Whether none of them is there any more."""
    return not any(os.path.exists(f"/proc/{pid}") for pid in processes)


@pytest.fixture
def world():
    """A server of its own: it is killed."""
    with World("local") as world:
        yield world


def test_zygotes_that_import_end_with_their_server(world):
    """A moment at which they hear nothing."""
    mine = wait_until(lambda: zygotes(world.server.pid), "a zygote is being made", 30, 0.01)
    world.server.kill()
    wait_until(lambda: gone(mine), "the zygotes have ended", 20, 0.05)


def test_zygotes_that_wait_end_and_a_forked_notebook_runs_on(world):
    """The next server finds the notebook as it was."""

    def forked():
        shown = world.api.create_running()
        if "forked from the zygote" in json.dumps(world.api.own(f"/notebooks/{shown['id']}/events")):
            return shown
        world.api.remove(shown["id"])
        return None

    shown = wait_until(forked, "a notebook server is forked", 240, 1)
    kernel = world.notebook(shown).start_kernel()
    kernel.run("kept = 'in memory'")
    mine = zygotes(world.server.pid)
    assert len(mine) >= 2
    world.server.kill()
    wait_until(lambda: gone(mine), "the zygotes have ended", 20, 0.05)
    world.start()
    again = world.notebook(world.api.show(shown["id"])).kernel(kernel.id)
    assert again.run("print(kept)") == "in memory\n"
