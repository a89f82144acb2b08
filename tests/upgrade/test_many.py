"""The server is replaced under a hundred running notebooks."""

import time
from pathlib import Path

import pytest
from support.trial import Trial, another_path
from support.world import World

pytestmark = [pytest.mark.local, pytest.mark.long]

MANY = 100
KERNELS = 6
# So much is held by a hundred notebooks with some kernels among them, and the machine must not run out of it.
GIB_FOR_MANY = 12


def test_a_hundred_notebooks_run_on(tmp_path):
    available = memory_available()
    assert available >= GIB_FOR_MANY << 30, f"{MANY} notebooks need {GIB_FOR_MANY} GiB of memory, {available >> 30} are"
    with World("local", environment={"ATELIER_LOCAL__CPU_OVERCOMMIT": "1000"}) as world:
        trial = Trial(world, MANY, KERNELS)
        for replace in (world.server.stop, world.server.kill):
            before = world.leftovers.running()
            moments = {}

            def change(replace=replace, moments=moments):
                moments["asked"] = time.monotonic()
                replace()
                moments["gone"] = time.monotonic()
                world.server.binary = another_path(world.server.binary, tmp_path / replace.__name__)
                world.start()
                moments["ready"] = time.monotonic()

            listeners = trial.replace(change)
            gone, ready = moments["gone"] - moments["asked"], moments["ready"] - moments["gone"]
            print(f"{replace.__name__}: gone after {gone:.2f} s, ready with {MANY} notebooks after {ready:.2f} s more")
            assert not (ended := before - world.leftovers.running()), f"processes that ended: {ended}"
            if replace == world.server.stop:
                assert [listener.missing() for listener in listeners] == [[]] * len(listeners)
            trial.check()


def memory_available():
    """What could be used without swapping, in bytes."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
