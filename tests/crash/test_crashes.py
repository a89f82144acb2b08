"""The server dies at every step of every operation, and at moments that nobody chose.

The points stand between the effect of a step and its record, and after the record. Each case ends with the same
questions: does the operation come to its end, did a running notebook notice, and is the list of processes, mounts,
loop devices, control groups, namespaces, sockets and folders the one from before?
"""

import os
import random

import pytest
from support.campaign import ENDS, PHASES, STEPS, Campaign

RUNTIMES = [pytest.param("simulated"), pytest.param("local", marks=pytest.mark.local)]
POINTS = [(kind, step, phase) for kind, steps in STEPS.items() for step in steps for phase in PHASES]
UNDONE = [(kind, step, phase) for kind in ("create", "start") for step in STEPS[kind] for phase in PHASES]
SEED = int(os.environ.get("ATELIER_TEST_SEED", "20261121"))
# The longest that an operation takes on an idle machine, roughly: moments after it are wasted.
SPAN = {"simulated": 0.03, "local": 2.5}


@pytest.fixture(scope="module", params=RUNTIMES)
def campaign(request):
    """One server and one data folder for all cases with a runtime: they follow one another, as faults do."""
    with Campaign(request.param) as running:
        yield running


@pytest.fixture(autouse=True)
def recovering(campaign, request):
    """See `Campaign.one_failure_is_one_failure`."""
    with campaign.one_failure_is_one_failure(request.session):
        yield


@pytest.mark.parametrize(("kind", "step", "phase"), POINTS)
def test_dies_at_a_step(campaign, kind, step, phase):
    campaign.die_at(f"op::{kind}::{step}::{phase}", kind)


@pytest.mark.parametrize(("kind", "step", "phase"), UNDONE)
def test_dies_while_taking_back(campaign, kind, step, phase):
    """The last step fails, everything is taken back, and the server dies on the way."""
    campaign.die_at(f"undo::{kind}::{step}::{phase}", kind, "initialize-instance", {"START_FAILED"})


@pytest.mark.parametrize("phase", PHASES)
def test_dies_while_discarding_a_volume(campaign, phase):
    """A creation that fails before the notebook server is even tried keeps no volume."""
    point = f"undo::create::prepare-storage::{phase}"
    campaign.die_at(point, "create", "configure-network", {"CREATE_FAILED"})


def moments(seed, count):
    """Operations and the part of their time after which the server dies; the same for the same seed."""
    chance = random.Random(seed)
    return [(chance.choice(sorted(ENDS)), chance.random()) for _ in range(count)]


@pytest.mark.parametrize(("kind", "part"), moments(SEED, 20), ids=lambda value: str(value)[:6])
def test_dies_at_a_random_moment(campaign, kind, part):
    campaign.die_after(kind, part * SPAN[campaign.runtime])


@pytest.mark.long
@pytest.mark.parametrize(("kind", "part"), moments(SEED + 1, 300), ids=lambda value: str(value)[:6])
def test_dies_at_many_random_moments(campaign, kind, part):
    campaign.die_after(kind, part * SPAN[campaign.runtime])
