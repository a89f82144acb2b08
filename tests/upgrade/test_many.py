"""The server is replaced under a hundred running notebooks."""

import time

import pytest
from support import machine
from support.trial import Trial, another_path
from support.world import World

pytestmark = [pytest.mark.local, pytest.mark.long]

MANY = 100
KERNELS = 6
# So much memory is held by a hundred notebooks with some kernels among them, and so much disk by their empty volumes; the
# machine must run out of neither.
GIB_OF_MEMORY = 12
GIB_OF_DISK = 16


def test_a_hundred_notebooks_run_on(tmp_path):
    machine.has_room(MANY, GIB_OF_MEMORY, GIB_OF_DISK)
    with World("local", environment={"ATELIER_LOCAL__CPU_OVERCOMMIT": "1000"}) as world:
        trial = Trial(world, MANY, KERNELS)
        for replace in (world.server.stop, world.server.kill):
            before = world.leftovers.outliving()
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
            assert not (ended := before - world.leftovers.outliving()), f"processes that ended: {ended}"
            if replace == world.server.stop:
                assert [listener.missing() for listener in listeners] == [[]] * len(listeners)
            trial.check()
