"""One stage for the whole suite: two notebooks, one of which attacks."""

import pytest
from support.stage import Stage
from support.world import World


@pytest.fixture(scope="session")
def stage():
    """Two notebooks and everything around them that one of them must not reach."""
    with World("local") as world, Stage(world) as ready:
        yield ready


@pytest.fixture(scope="session")
def kernel(stage):
    """A kernel of the notebook that attacks."""
    with stage.world.notebook(stage.attacker).new_kernel() as kernel:
        yield kernel


@pytest.fixture(scope="session")
def neighbours_kernel(stage):
    """A kernel of the other one, which is smaller."""
    with stage.world.notebook(stage.neighbour).new_kernel() as kernel:
        yield kernel
