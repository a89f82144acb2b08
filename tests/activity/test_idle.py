"""Idle leases on real notebooks: a silent cell keeps its notebook, an open page that polls does not.

The times are short, the rules are the real ones. Nothing here depends on how fast the machine is: what is waited for is
that one notebook stops, and that the end of the other one's lease has moved far beyond where it was.
"""

import json

import pytest
from support.deadline import wait_until
from support.world import World

pytestmark = pytest.mark.local

GRANT = 6000
SHORT = {
    "ATELIER_LEASE__MIN_MS": "1000",
    "ATELIER_IDLE__LOOK_SECONDS": "1",
    "ATELIER_IDLE__CPU_WINDOW_SECONDS": "4",
    # Asked every second by server and test alike, a notebook server takes more than one that is left alone.
    "ATELIER_IDLE__CPU_MARGIN_MILLIS": "300",
}
IDLE = {"duration": None, "lease": {"type": "IDLE", "duration": 3_600_000}}


@pytest.fixture(scope="module")
def world():
    """A server that looks often."""
    with World("local", environment=SHORT) as world:
        yield world


def activity(world, notebook):
    """The signals of a notebook by name, and all that is said."""
    said = world.api.own(f"/notebooks/{notebook}/activity")
    return {signal["signal"]: signal for signal in said["signals"]}, said


def end_of(lease):
    """When a lease ends."""
    return lease["create_at"] + lease["duration"]


def poll(notebook):
    """What an open page asks for by itself."""
    for path in ("/api/kernels", "/api/sessions", "/api/terminals", "/api/contents?content=1", "/api/status"):
        notebook.request("GET", path)


def type_into_a_terminal(notebook, line):
    """Opens a terminal and types a line."""
    name = notebook.request("POST", "/api/terminals").json()["name"]
    socket = notebook.websocket(f"/terminals/websocket/{name}")
    socket.send(json.dumps(["stdin", f"{line}\r"]))
    return socket


def why(world, name):
    """What `atelier notebook why` prints."""
    return world.server.atelier("notebook", "why", name).stdout


def test_a_silent_cell_keeps_its_notebook_and_a_polling_page_does_not(world):
    api = world.api
    working, left_alone = (api.create_running(name, **IDLE) for name in ("working", "left-alone"))
    assert working["lease"]["type"] == "IDLE"
    at_work, page = world.notebook(working), world.notebook(left_alone)
    kernel, open_kernel = at_work.start_kernel(), page.start_kernel()
    kernel.begin("import time; time.sleep(10000)")
    terminal = type_into_a_terminal(at_work, "sleep 10000")

    def both_are_seen():
        signals, said = activity(world, working["id"])
        assert signals["kernels"]["state"] == signals["terminals"]["state"] == "active", said
        assert "is busy" in signals["kernels"]["reason"] and "`sleep`" in signals["terminals"]["reason"], said
        return True

    wait_until(both_are_seen, "the cell and the program in the terminal are seen", 60)
    began = [end_of(api.renew(notebook["id"], GRANT, "idle")) for notebook in (working, left_alone)]

    def stopped():
        status = api.status(left_alone["id"])
        if status == "RUNNING":
            poll(page)
        return status == "STOPPED"

    wait_until(stopped, "the notebook that is left alone stops", 120)
    asked = [e for e in api.own(f"/notebooks/{left_alone['id']}/events")["events"] if e["what"] == "stop.asked"][-1]
    assert asked["actor"] == "lease"
    assert asked["at"] >= began[1]
    for part in ("idle for", f"{GRANT} ms were granted, type IDLE", "kernels: 1 idle", "terminals: 0 open", "cpu: "):
        assert part in asked["why"]
    assert "is STOPPED since" in why(world, "left-alone")
    open_kernel.close()

    world.restart()
    far = began[0] + 4 * GRANT
    wait_until(lambda: end_of(world.api.lease(working["id"])) > far, "the end of the lease moves on", 120, 0.5)
    assert world.api.status(working["id"]) == "RUNNING"
    lease = world.api.lease(working["id"])
    assert (lease["type"], lease["update_at"]) == ("IDLE", began[0] - GRANT), "activity is no write"
    said = why(world, "working")
    assert "is busy" in said and "active, which is not idle" in said
    terminal.close()
    kernel.close()

    # What kept it ends, and so does the notebook.
    at_work.request("POST", f"/api/kernels/{kernel.id}/interrupt")
    at_work.request("DELETE", "/api/terminals/1")
    wait_until(lambda: world.api.status(working["id"]) == "STOPPED", "the notebook stops once nothing computes", 120)
