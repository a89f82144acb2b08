"""What every suite starts from."""

import os
import signal

import pytest
from support import children
from support.world import World

children.adopt_orphans()


def pytest_configure(config):
    """The marks that suites use, and how a run may be ended."""
    # A runner that ends us must not keep us from taking everything down.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config.addinivalue_line("markers", "local: needs the local runtime, and with it root")
    config.addinivalue_line("markers", "long: a campaign, for `make test-long`")


def pytest_collection_modifyitems(items):
    """Without root the local runtime cannot work; such a test is skipped, and a skip is not a pass."""
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("local"):
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Beside a failure stands the end of what the server said."""
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            world = value if isinstance(value, World) else getattr(value, "world", None)
            if isinstance(world, World):
                report.sections.append((f"the server said, see {world.server.log}", world.server.text()))
                break
    return report


@pytest.fixture(scope="module")
def local():
    """A server with the local runtime, shared by the tests of one file."""
    with World("local") as world:
        yield world


@pytest.fixture(scope="module")
def simulated():
    """A server with the simulated runtime, shared by the tests of one file."""
    with World("simulated") as world:
        yield world
