"""The scoreboard of clients is what `docs/compatibility.md` says; `make compat` writes it anew. The runtime is the
simulated one: what a client is answered does not depend on what runs behind it."""

import os

import pytest
from support.compat import openstack, platforms, printed, scoreboard, sdk, terraform
from support.world import World

CLIENTS = {
    "SDK": (sdk.Sdk, sdk.WHAT),
    "Terraform, older": (terraform.OldTerraform, terraform.WHAT_OLD),
    "Terraform, newest": (terraform.NewTerraform, terraform.WHAT_NEW),
    "OpenStack": (openstack.Openstack, openstack.WHAT),
    "aiforge": (platforms.Aiforge, platforms.WHAT_AIFORGE),
    "skill": (platforms.Skill, platforms.WHAT_SKILL),
    "printed": (printed.Printed, printed.WHAT),
}


@pytest.fixture
def offering():
    """A server that offers a pool and a file share as well."""
    world = World("simulated")
    world.export()
    with world:
        yield world


def test_every_client_passes_where_the_page_says_so(offering):
    outcomes = {name: scoreboard.play(client, offering) for name, (client, _) in CLIENTS.items()}
    assert all(outcomes.values()), "a client that tries nothing"
    made = scoreboard.page({name: what for name, (_, what) in CLIENTS.items()}, outcomes)
    if os.environ.get("ATELIER_WRITE_COMPATIBILITY") == "1":
        scoreboard.PAGE.write_text(made, encoding="utf-8")
    assert scoreboard.PAGE.read_text(encoding="utf-8") == made
