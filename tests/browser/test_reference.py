"""`/docs` in a browser: all of the document is drawn, and nothing comes from anywhere else."""

import pytest
from support.browser import Browser

METHODS = {"get", "put", "post", "delete", "patch", "head", "options", "trace"}
# What a person reads of each operation in the list.
DRAWN = """
blocks => blocks.map(block => [
    block.querySelector(".opblock-summary-method").textContent,
    block.querySelector(".opblock-summary-path").dataset.path,
    block.querySelector(".opblock-summary-description").textContent,
])
"""


@pytest.fixture(scope="module")
def paths(simulated):
    """The document itself, as far as it is about operations."""
    return simulated.api.http.get(f"{simulated.server.url}/openapi.json", timeout=30).json()["paths"]


@pytest.fixture(scope="module")
def browser(simulated):
    """A browser at the page. The tests share it: to draw the page takes seconds."""
    with Browser() as browser:
        browser.page.goto(f"{simulated.server.url}/docs")
        browser.page.locator(".opblock").first.wait_for()
        yield browser


def test_every_operation_is_drawn_and_nobody_else_is_asked(simulated, paths, browser):
    written = [
        (method.upper(), path, operation["summary"])
        for path, item in paths.items()
        for method, operation in item.items()
        if method in METHODS
    ]
    drawn = browser.page.locator(".opblock").evaluate_all(DRAWN)
    assert sorted(map(tuple, drawn)) == sorted(written)
    assert len(drawn) > 40

    # One of them opened, with its fields and answers. All of them take the library minutes.
    create = browser.page.locator("#operations-notebooks-CreateNotebook")
    create.locator(".opblock-summary-control").click()
    create.locator(".responses-table").first.wait_for()
    codes = create.locator(".responses-table .response").evaluate_all("all => all.map(one => one.dataset.code)")
    assert set(codes) == set(paths["/v1/{project_id}/notebooks"]["post"]["responses"])
    assert "image_id" in create.inner_text()

    assert browser.page.locator(".errors-wrapper").count() == 0
    assert browser.errors == []
    assert f"{simulated.server.url}/openapi.json" in browser.requests
    assert browser.hosts() == {simulated.server.authority}


def test_a_request_to_somebody_else_would_have_been_seen(simulated, browser):
    """Else the test above could not fail. The page's policy stops both kinds; the browser says so in its own ways."""
    before = len(browser.requests), len(browser.errors)
    try:
        show = "new Promise(done => { const image = new Image(); image.onerror = done; image.src = 'https://image.example/'; })"
        browser.page.evaluate(show)
        assert browser.hosts() == {simulated.server.authority, "image.example"}
        browser.page.evaluate("fetch('https://fetch.example/').catch(() => null)")
        assert any("fetch.example" in error for error in browser.errors), browser.errors
    finally:
        del browser.requests[before[0] :], browser.errors[before[1] :]
