"""Every form and kind of request × every credential, on the real server with a real notebook behind it."""

import pytest
import websocket
from support.api import GONE
from support.notebook import FORMS, HOST, PATH, Notebook

pytestmark = pytest.mark.local

PAGES = ["/", "/lab", "/tree", "/api", "/api/status", "/api/kernels", "/api/contents", "/static/nothing.js", "/nowhere"]
CHANGES = [("POST", "/api/kernels"), ("PUT", "/api/contents/x.txt"), ("PATCH", "/api/contents/x.txt"), ("DELETE", "/api/contents/x.txt")]
REQUESTS = [("GET", path) for path in PAGES] + [("HEAD", "/api/status"), ("OPTIONS", "/api/status"), *CHANGES]
UPGRADES = ["/api/kernels/00000000-0000-0000-0000-000000000000/channels", "/api/events/subscribe", "/terminals/websocket/1"]
NONE, FOREIGN = 401, 403


@pytest.fixture(scope="module")
def shown(local):
    """The notebook that is knocked at."""
    return local.api.create_running("door")


@pytest.fixture(scope="module")
def tokens(local, shown):
    """Texts that are tokens of something, but not of this notebook now."""
    other = local.api.create_running("other-door")
    earlier = shown["token"]
    local.api.stop(shown["id"])
    local.api.wait_for(shown["id"], "STOPPED")
    local.api.start(shown["id"])
    local.api.wait_for(shown["id"], "RUNNING")
    admin = local.server.admin()
    now = local.api.show(shown["id"])["token"]
    return {
        "now": now,
        "earlier": earlier,
        "of another notebook": other["token"],
        "of the API": local.api.token(),
        "an access key": admin["access_key"],
        "a secret key": admin["secret_key"],
        "one letter off": now[:-1] + ("0" if now[-1] != "0" else "1"),
        "shorter": now[:-1],
        "longer": now + "0",
        "other case": now.swapcase(),
    }


WRONG = ["earlier", "of another notebook", "of the API", "an access key", "a secret key", "one letter off", "shorter", "longer", "other case"]


def ways(token):
    """The ways in which a program can show a token."""
    return {
        "token header": ({"Authorization": f"token {token}"}, ""),
        "bearer header": ({"Authorization": f"Bearer {token}"}, ""),
        "query": ({}, f"?token={token}"),
    }


def knock(notebook, method, path, headers, query):
    """One request with exactly these credentials."""
    return notebook.request(method, path + query, headers=headers, authorized=False)


def upgrade(notebook, path, headers, query):
    """One upgrade with exactly these credentials; the status of the answer."""
    lines = [f"{name}: {value}" for name, value in headers.items()]
    try:
        notebook.websocket(path + query, lines, authorized=False).close()
    except websocket.WebSocketBadStatusException as refused:
        return refused.status_code
    return 101


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("method", "path"), REQUESTS)
def test_requests_without_a_token_are_not_let_in(local, shown, tokens, form, method, path):
    notebook = Notebook(local.server, shown, form)
    assert knock(notebook, method, path, {}, "").status_code == NONE
    assert knock(notebook, method, path, {"X-Auth-Token": tokens["of the API"]}, "").status_code == NONE
    assert knock(notebook, method, path, {"Cookie": f"token={tokens['now']}"}, "").status_code == NONE


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("method", "path"), REQUESTS)
def test_requests_with_a_wrong_token_are_refused(local, shown, tokens, form, method, path):
    notebook = Notebook(local.server, shown, form)
    for name in WRONG:
        for way, (headers, query) in ways(tokens[name]).items():
            answer = knock(notebook, method, path, headers, query)
            assert answer.status_code == FOREIGN, f"{name}, by {way}: {answer.status_code}"
            assert tokens["now"] not in answer.text


@pytest.mark.parametrize("form", FORMS)
def test_the_right_token_lets_in_by_every_way(local, shown, tokens, form):
    notebook = Notebook(local.server, shown, form)
    for way, (headers, query) in ways(tokens["now"]).items():
        for path in ("/api/status", "/lab", "/api/contents"):
            assert knock(notebook, "GET", path, headers, query).status_code == 200, f"{path} by {way}"
        # What changes something must be let in, too: a program meets no question of a browser's.
        made = notebook.request("POST", "/api/kernels" + query, headers=headers, authorized=False, json={})
        assert made.status_code == 201, f"POST by {way}: {made.text[:200]}"
        gone = notebook.request("DELETE", f"/api/kernels/{made.json()['id']}{query}", headers=headers, authorized=False)
        assert gone.status_code == 204, f"DELETE by {way}: {gone.text[:200]}"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("path", UPGRADES)
def test_upgrades_meet_the_same_door(local, shown, tokens, form, path):
    notebook = Notebook(local.server, shown, form)
    assert upgrade(notebook, path, {}, "") == NONE
    for name in WRONG:
        for way, (headers, query) in ways(tokens[name]).items():
            assert upgrade(notebook, path, headers, query) == FOREIGN, f"{name}, by {way}"


@pytest.mark.parametrize("form", FORMS)
def test_an_upgrade_with_the_right_token_is_answered_by_the_notebook(local, shown, tokens, form):
    notebook = Notebook(local.server, {**shown, "token": tokens["now"]}, form)
    kernel = notebook.start_kernel()
    kernel.close()
    for headers, query in ways(tokens["now"]).values():
        assert upgrade(notebook, f"/api/kernels/{kernel.id}/channels", headers, query) == 101


def navigation(site="none"):
    """What a browser says of itself when somebody types an address."""
    return {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": site}


def test_a_browser_gets_a_cookie_by_the_host_form_only(local, shown, tokens):
    by_host, by_path = (Notebook(local.server, shown, form) for form in (HOST, PATH))
    query = f"?token={tokens['now']}"
    first = knock(by_host, "GET", "/lab", navigation(), query)
    assert first.is_redirect
    assert "token" not in first.headers["Location"]
    cookie = first.headers["Set-Cookie"]
    assert cookie.startswith("__Host-")
    assert "HttpOnly" in cookie
    assert tokens["now"] not in cookie
    pair = {"Cookie": cookie.split(";")[0]}
    by_host.http.cookies.clear()
    assert knock(by_host, "GET", "/lab", {**pair, **navigation()}, "").status_code == 200
    assert knock(by_path, "GET", "/lab", {**pair, **navigation()}, "").status_code == NONE
    assert "Set-Cookie" not in knock(by_path, "GET", "/lab", navigation(), query).headers


def test_a_cookie_does_not_act_for_other_pages(local, shown, tokens):
    notebook = Notebook(local.server, shown, HOST)
    first = knock(notebook, "GET", "/lab", navigation(), f"?token={tokens['now']}")
    pair = {"Cookie": first.headers["Set-Cookie"].split(";")[0]}
    notebook.http.cookies.clear()
    foreign = {**pair, "Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert knock(notebook, "POST", "/api/kernels", foreign, "").status_code == 403
    assert upgrade(notebook, UPGRADES[0], foreign, "") == 403


def test_an_unknown_host_is_misdirected(local, shown):
    notebook = Notebook(local.server, shown, PATH)
    answer = notebook.request("GET", "/api/status", headers={"Host": f"evil.example:{local.server.port}"})
    assert answer.status_code == 421


@pytest.mark.parametrize("form", FORMS)
def test_a_notebook_that_is_gone_is_not_found(local, form):
    shown = local.api.create_running("gone-door")
    local.api.delete(shown["id"])
    local.api.wait_for(shown["id"], GONE)
    assert Notebook(local.server, shown, form).request("GET", "/api/status").status_code == 404
