"""A thousand notebooks, one after another: what the last one leaves is what the first one left."""

import os

import pytest
from support.deadline import wait_until
from support.leftovers import Leftovers, proportional_share
from support.world import World

pytestmark = [pytest.mark.local, pytest.mark.long]

CYCLES = 1000
# The first ones fill caches: connections, threads, the zygotes' children.
FIRST = 50


def test_a_thousand_cycles_leave_nothing():
    with World("local") as world:
        world.api.remove(world.create_forked()["id"])
        cycle(world, FIRST)
        # It comes a moment after the last start.
        wait_until(lambda: any("launch-instance" in p.command for p in world.leftovers.zygotes()), "a launcher waits")
        before, open_before, weight_before = left(world), descriptors(world), proportional_share(world.server.pid)
        cycle(world, CYCLES)

        def same():
            other = left(world) ^ before
            assert not other, other
            return True

        wait_until(same, "nothing more is left", 30, 1)
        grown = descriptors(world) - open_before
        assert grown <= 4, f"{grown} more descriptors are open than after {FIRST} notebooks"
        weight = proportional_share(world.server.pid)
        print(f"\nafter {CYCLES} cycles the server weighs {weight / 1e6:.1f} MB, before {weight_before / 1e6:.1f}")


def cycle(world, count):
    """Makes and deletes notebooks."""
    for _ in range(count):
        made = world.api.create()["id"]
        world.api.wait_for(made, "RUNNING")
        world.api.remove(made)


def left(world):
    """What there is. The zygotes are renewed meanwhile, so that only their number, and that of namespaces, is the same."""
    lines = world.leftovers.take()
    passing = {line for line in lines if Leftovers.waits(line) or line.startswith("namespaces:")}
    return lines - passing | {f"{len(passing)} zygotes and namespaces"}


def descriptors(world):
    """How many the server has open."""
    return len(os.listdir(f"/proc/{world.server.pid}/fd"))
