"""A server that dies takes its zygotes along, whatever they are doing, and leaves what came of them running."""

import os

import pytest
from support import children
from support.deadline import wait_until
from support.world import World

pytestmark = pytest.mark.local


def gone(processes):
    """Whether none of them is there any more."""
    return not processes & children.descendants()


@pytest.fixture
def world():
    """A server of its own: it is killed."""
    with World("local") as world:
        yield world


def test_zygotes_that_import_end_with_their_server(world):
    """A moment at which they hear nothing."""
    mine = wait_until(world.leftovers.zygotes, "a zygote is being made", 30, 0.01)
    world.server.kill()
    wait_until(lambda: gone(mine), "the zygotes have ended", 20, 0.05)


def test_a_server_that_stops_leaves_no_zygote_that_learns(world):
    """Nothing of it is there any more when the server has ended, and not a moment later."""
    for _ in range(5):
        wait_until(lambda: len(world.leftovers.zygotes()) >= 3, "a zygote has had a child that learns", 30, 0.01)
        assert world.server.stop() == 0
        assert not world.leftovers.processes()
        world.start()


def test_zygotes_that_wait_end_and_a_forked_notebook_runs_on(world):
    """The next server finds the notebook as it was."""
    shown = world.create_forked()
    kernel = world.notebook(shown).start_kernel()
    kernel.run("kept = 'in memory'")
    layers = wait_until(world.leftovers.waiting_layers, "a launcher waits", 20, 0.05)
    mine = world.leftovers.zygotes()
    assert len(mine) >= 3
    world.server.kill()
    wait_until(lambda: gone(mine), "the zygotes and the launcher have ended", 20, 0.05)
    wait_until(lambda: not layers & world.leftovers.loops(), "the layer that waited is let go", 20, 0.05)
    world.start()
    assert not [layer for layer in layers if os.path.exists(layer)]
    again = world.notebook(world.api.show(shown["id"])).kernel(kernel.id)
    assert again.run("print(kept)") == "in memory\n"
