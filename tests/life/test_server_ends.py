"""A notebook server that ends by itself is started again in its container; one that ends too often is given up."""

import os
import signal

import pytest
from support.deadline import wait_until
from support.faults import server_of
from support.figures import figure
from support.world import World

pytestmark = pytest.mark.local

MOST = 2


@pytest.fixture(scope="module")
def world():
    """A server that tries twice only: the pauses after that are long."""
    with World("local", environment={"ATELIER_RESTART__MOST": str(MOST)}) as world:
        # From here on servers are forked.
        world.api.remove(world.create_forked()["id"])
        yield world


def kill_the_server(world, notebook):
    """As the kernel does when memory runs out."""
    os.kill(wait_until(lambda: server_of(world, notebook), "there is a notebook server", 60), signal.SIGKILL)


def test_a_killed_server_serves_again_and_one_that_ends_again_and_again_is_given_up(world):
    api = world.api
    shown = api.create_running("ends")
    notebook, container = shown["id"], world.first_process(shown["id"])
    way = world.notebook(shown)
    before = way.start_kernel()
    before.run("kept = 1")
    assert before.was_forked()
    for time in range(1, MOST + 1):
        kill_the_server(world, notebook)
        wait_until(lambda: len(api.events(notebook, "server.restarted")) == time, "the server is started again", 120)
        assert api.status(notebook) == "RUNNING"
        # Same container, same token; the kernels ended with their server.
        assert world.first_process(notebook) == container
        assert way.request("GET", "/api/kernels").json() == []
        with way.new_kernel() as kernel:
            assert kernel.run("print(6 * 7)") == "42\n"
            # What forks them is the container's, and outlives the server.
            assert kernel.was_forked()
    ended = api.events(notebook, "server.ended")
    assert "signal 9" in ended[0] and f"at once (attempt 1 of {MOST})" in ended[0], ended
    assert "in 1 s (attempt 2 of 2)" in ended[1], ended
    assert api.show(notebook)["lease"] == shown["lease"]
    assert figure(world, 'atelier_server_restarts_total{result="done"}') == MOST

    kill_the_server(world, notebook)
    wait_until(lambda: api.status(notebook) == "ERROR", "the notebook is given up", 60)
    reason = api.show(notebook)["fail_reason"]
    assert "signal 9" in reason and f"{MOST} attempts" in reason, reason
    assert api.events(notebook)[-1] in ("fault", "left-overs.collected")

    world.server.atelier("notebook", "start", "ends")
    assert world.notebook(api.wait_for_running(notebook)).start_kernel().run("print(6 * 7)") == "42\n"


def test_a_stop_while_the_server_is_away_comes_first(world):
    api = world.api
    notebook = api.create_running("stops")["id"]
    kill_the_server(world, notebook)
    wait_until(lambda: api.events(notebook, "server.restarted"), "the server is started again", 120)
    kill_the_server(world, notebook)
    wait_until(lambda: len(api.events(notebook, "server.ended")) == 2, "its end is seen", 60)
    api.stop(notebook)
    api.wait_for(notebook, "STOPPED")
    told = api.events(notebook)
    assert told[told.index("stop.asked") :] == ["stop.asked", "stop.done"], told
