"""A notebook as people use it: its address in a browser, over TLS, and a cell that is run by hand."""

import pytest
from support.browser import Browser
from support.deadline import wait_until
from support.world import World

pytestmark = pytest.mark.local


@pytest.fixture(scope="module")
def world():
    """A server that has made its own CA, with the runtime that runs notebooks."""
    with World("local", own_ca=True) as world:
        yield world


@pytest.fixture
def shown(world):
    """A notebook that runs."""
    return world.api.create_running("by-hand")


@pytest.fixture
def page(world, shown):
    """JupyterLab at the notebook's address, entered with its token as the CLI's `open` does."""
    with Browser(trusted=world.server.trusted) as browser:
        assert browser.security(f"{shown['url']}?token={shown['token']}") == "secure"
        yield browser.page
        assert browser.hosts() == {
            f"{shown['id']}.localhost:{world.server.port}"
        }


def test_a_cell_is_run_by_hand_and_its_output_is_seen_and_kept(world, shown, page):
    assert shown["token"] not in page.url, "the token stays in the address bar"
    page.locator('.jp-LauncherCard[data-category="Notebook"]').first.click()
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    page.locator(".jp-Notebook .jp-Cell .cm-content").first.click()
    page.keyboard.type("6 * 7 * 1000")
    page.keyboard.press("Shift+Enter")
    output = page.locator(".jp-Notebook .jp-OutputArea-output").first
    output.wait_for()
    assert output.inner_text().strip() == "42000"
    page.keyboard.press("Control+s")
    asked = page.locator(".jp-Dialog")
    asked.locator("input").first.fill("by-hand.ipynb")
    asked.get_by_role("button", name="Rename").click()
    wait_until(lambda: kept(world, shown) == "42000", "the saved notebook has the output", 20)


def kept(world, shown):
    """The output as the file in the notebook's volume has it."""
    answer = world.notebook(shown).request("GET", "/api/contents/by-hand.ipynb")
    assert answer.status_code == 200, answer.text[:300]
    outputs = [output for cell in answer.json()["content"]["cells"] for output in cell["outputs"]]
    return outputs and outputs[0]["data"]["text/plain"]
