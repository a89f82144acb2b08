"""The self-made CA, as docs/tls.md tells people to use it: who has imported it meets no warning, everybody else does."""

import pytest
from playwright.sync_api import Error
from support.browser import Browser
from support.world import World


@pytest.fixture(scope="module")
def world():
    """A server that has made its own CA. Which runtime is behind it does not matter to a browser."""
    with World("simulated", own_ca=True) as world:
        yield world


def test_who_has_imported_the_root_meets_no_warning(world):
    with Browser(trusted=world.server.trusted) as browser:
        assert browser.security(f"https://localhost:{world.server.port}/docs") == "secure"
        assert browser.page.title() == "Atelier: the API"
        assert browser.security(f"https://127.0.0.1:{world.server.port}/healthz") == "secure"


def test_who_has_not_is_warned(world):
    with Browser() as browser:
        with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
            browser.page.goto(f"https://localhost:{world.server.port}/docs")
