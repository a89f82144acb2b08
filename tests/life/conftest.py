"""A server for each file, as it comes."""

import pytest
from support.world import World


@pytest.fixture(scope="module")
def world():
    """A server of its own; files that need another one say which."""
    with World("local") as world:
        yield world
