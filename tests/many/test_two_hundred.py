"""Two hundred notebooks on one machine, some of them busy: all serve, and what that costs is printed."""

import statistics
import time

import pytest
from support import children, machine
from support.leftovers import proportional_share
from support.world import World

pytestmark = [pytest.mark.local, pytest.mark.long]

MANY = 200
BUSY = 20
GIB_OF_MEMORY = 14
GIB_OF_DISK = 30
# So many are made at once: more would only wait for a processor.
AT_ONCE = 4
QUESTIONS = 2000
IDLE_SECONDS = 30
MORE_THAN_USUAL = {"ATELIER_QUOTA__NOTEBOOKS_PER_USER": "1000", "ATELIER_LOCAL__CPU_OVERCOMMIT": "1000"}
BUSY_CELL = "while True: sum(range(1000))"


def test_two_hundred_notebooks_serve():
    machine.has_room(MANY, GIB_OF_MEMORY, GIB_OF_DISK)
    with World("local", environment=MORE_THAN_USUAL) as world:
        world.api.remove(world.create_forked()["id"])
        begun = time.monotonic()
        notebooks = []
        while len(notebooks) < MANY:
            made = [world.api.create()["id"] for _ in range(AT_ONCE)]
            for notebook in made:
                world.api.wait_for(notebook, "RUNNING")
            notebooks += made
        print(f"\n{MANY} notebooks run after {time.monotonic() - begun:.1f} s")

        before = processor_seconds(world)
        time.sleep(IDLE_SECONDS)
        server, all_of_them = (after - was for after, was in zip(processor_seconds(world), before, strict=True))
        weights = [world.leftovers.weight(notebook) / 1e6 for notebook in notebooks]
        idle = 1000 * all_of_them / IDLE_SECONDS / MANY
        print(f"idle: {statistics.mean(weights):.1f} MB (PSS) and {idle:.2f} thousandths of a processor for each notebook")
        share = proportional_share(world.server.pid) / 1e6
        print(f"the server: {share:.0f} MB (PSS), {1000 * server / IDLE_SECONDS:.0f} thousandths of a processor")

        kernels = [world.notebook(world.api.show(notebook)).start_kernel() for notebook in notebooks[:BUSY]]
        for kernel in kernels:
            kernel.begin(BUSY_CELL)
        took = []
        for at in range(QUESTIONS):
            asked = time.monotonic()
            shown = world.api.show(notebooks[at % MANY])
            took.append(1000 * (time.monotonic() - asked))
            assert shown["status"] == "RUNNING"
        print(f"ShowNotebook beside {BUSY} busy ones: p50 {quantile(took, 50):.1f}, p99 {quantile(took, 99):.1f} ms")
        for notebook in notebooks:
            assert world.notebook(world.api.show(notebook)).request("GET", "/api/status").status_code == 200
        for kernel in kernels:
            kernel.close()


def quantile(values, hundredth):
    """A percentile."""
    return statistics.quantiles(values, n=100)[hundredth - 1]


def processor_seconds(world):
    """What the server, and what everything in notebooks, has had of the processors."""
    rest = (children.processor_seconds(process.pid) or 0.0 for process in world.leftovers.outliving())
    return children.processor_seconds(world.server.pid), sum(rest)
