"""What ends when somebody may enter no more: the next call of the API, the next visit of a notebook, and the sockets that
are open. Each end is waited for as an event; how long it took is printed, and held to the promise of five seconds."""

import time

import pytest
import websocket
from support.api import Api, RefusedError
from support.notebook import FORMS, Notebook

pytestmark = pytest.mark.local

PROMISED_SECONDS = 5.0


@pytest.fixture(scope="module")
def owned(local):
    """A user who is not the operator, and a running notebook of theirs."""
    made = local.api.own("/users", "POST", {"name": "ada"})
    api = Api(local.server)
    api.admin = {**api.admin, "user_name": "ada", "password": made["password"]}
    return made["user"]["id"], api, api.create_running("adas")


def opened(local, shown):
    """The notebook by each of its forms, with a socket open."""
    ways = [Notebook(local.server, shown, form) for form in FORMS]
    return [(notebook, notebook.start_kernel().socket) for notebook in ways]


def ends(sockets, began, what):
    """Waits until every socket is closed."""
    for socket in sockets:
        socket.settimeout(60)
        try:
            # What still comes before the end is passed over.
            while socket.recv():
                pass
        except (websocket.WebSocketConnectionClosedException, ConnectionError):
            pass
        seconds = time.monotonic() - began
        print(f"{what}: a socket was closed {seconds * 1000:.1f} ms after it was asked for")
        assert seconds < PROMISED_SECONDS


def test_a_new_token_cuts_what_the_old_one_opened(local, owned):
    _, api, shown = owned
    open_ways = opened(local, shown)
    began = time.monotonic()
    made = api.own(f"/notebooks/{shown['id']}/token", "POST")
    ends([socket for _, socket in open_ways], began, "a token was replaced")
    for notebook, _ in open_ways:
        assert notebook.request("GET", "/api/status").status_code == 403, "the old token"
    fresh = Notebook(local.server, api.show(shown["id"]))
    assert fresh.token == made["token"] != shown["token"]
    assert fresh.request("GET", "/api/status").json()["kernels"] == 2, "the kernels run on"
    assert api.show(shown["id"])["status"] == "RUNNING"


def test_nothing_is_left_open_for_a_user_who_is_switched_off(local, owned):
    user, api, shown = owned
    shown = api.show(shown["id"])
    open_ways = opened(local, shown)
    began = time.monotonic()
    local.api.own(f"/users/{user}", "PATCH", {"enabled": False})
    with pytest.raises(RefusedError) as refused:
        api.show(shown["id"])
    print(f"a user was switched off: the API refused after {(time.monotonic() - began) * 1000:.1f} ms")
    assert refused.value.status == 401
    ends([socket for _, socket in open_ways], began, "a user was switched off")
    for notebook, _ in open_ways:
        answer = notebook.request("GET", "/api/status")
        assert (answer.status_code, answer.json()["error_code"]) == (403, "ModelArts.0112")

    local.api.own(f"/users/{user}", "PATCH", {"enabled": True})
    assert Notebook(local.server, shown).request("GET", "/api/status").status_code == 200, "their notebook ran on"
    api._token = None
    api.delete(shown["id"])
    api.wait_for(shown["id"], "gone")
