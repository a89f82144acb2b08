"""Faults on the local runtime, chosen by a seed, with real notebooks. The short part is in every test run; the long one
is a campaign of hundreds. A case is repeated alone by the id that pytest prints, under the same environment:

* `ATELIER_CAMPAIGN_SEED`: the seed of the campaign.
* `ATELIER_CAMPAIGN_FAULTS`: how many faults the long one has.
* `ATELIER_CAMPAIGN_PAUSE`: how many seconds a server stands still in it.
"""

import os

import pytest
from support.faults import Faults, plan

pytestmark = pytest.mark.local

SEED = int(os.environ.get("ATELIER_CAMPAIGN_SEED", "20261121"))
FAULTS = int(os.environ.get("ATELIER_CAMPAIGN_FAULTS", "500"))
PAUSE = float(os.environ.get("ATELIER_CAMPAIGN_PAUSE", "60"))
# As small as a few notebooks allow, so that filling it takes no time.
DISK_MIB = 1024


@pytest.fixture(scope="module")
def faults():
    """One server and one data folder for all: the faults follow one another."""
    with Faults("local", disk_mib=DISK_MIB) as running:
        yield running


@pytest.fixture(autouse=True)
def recovering(faults, request):
    """See `Campaign.one_failure_is_one_failure`."""
    with faults.one_failure_is_one_failure(request.session):
        yield


def name_of(case):
    """The id of a case."""
    return "-".join(str(part) for part in case)


@pytest.mark.parametrize("case", plan(SEED, 9), ids=name_of)
def test_each_kind_of_fault(faults, case):
    _, kind, seed = case
    faults.bring_about(kind, seed, pause=3)


@pytest.mark.long
@pytest.mark.parametrize("case", plan(SEED + 1, FAULTS), ids=name_of)
def test_many_faults(faults, case):
    _, kind, seed = case
    faults.bring_about(kind, seed, PAUSE)
