"""Memory that runs out ends the kernel that took it, and nothing else; the notebook's history says so."""

import time

import pytest
from support.deadline import wait_until

pytestmark = pytest.mark.local

TAKES_ALL = "taken = [b'x' * (64 << 20) for _ in range(64)]"
# What a kernel may have of the 512 MiB of its notebook.
LIMIT_MIB = 448
MOST_READY_TO_DIE = "open('/proc/self/oom_score_adj', 'w').write('1000')"


@pytest.fixture(scope="module")
def shown(world):
    """A notebook whose kernels are forked, as they usually are."""
    return world.create_forked()


def run_out(world, notebook, kernel, capsys):
    """A cell takes all memory; what the history says of it."""
    before = len(world.api.events(notebook, "memory.exhausted"))
    began = time.monotonic()
    kernel.begin(TAKES_ALL)

    def told():
        why = world.api.events(notebook, "memory.exhausted")
        return why[before] if len(why) > before else None

    why = wait_until(told, "an event says that memory ran out", 60, 0.01)
    with capsys.disabled():
        print(f"\n{time.monotonic() - began:.2f} s from sending the cell to reading: {why}")
    return why


def test_the_kernel_that_took_it_ends_and_the_history_names_it(world, shown, capsys):
    way, notebook = world.notebook(shown), shown["id"]
    with way.new_kernel() as neighbour, way.new_kernel() as kernel:
        assert kernel.was_forked()
        neighbour.run("kept = 1")
        # Where the notebook's memory ran out, and not the kernel's, this one would be chosen.
        neighbour.run(MOST_READY_TO_DIE)
        server = way.request("GET", "/api/status").json()["started"]
        why = run_out(world, notebook, kernel, capsys)
        assert f"kernel `{kernel.id}`" in why, why
        assert why.startswith("the memory of a kernel ran out") and f"a kernel's limit is {LIMIT_MIB} MiB" in why, why
        assert f"the kernel and what it had started held {LIMIT_MIB} MiB at most" in why, why
        assert way.request("GET", "/api/status").json()["started"] == server
        assert neighbour.value("kept") == 1
    assert world.api.status(notebook) == "RUNNING"
    assert "server.ended" not in world.api.events(notebook)


def test_a_kernel_that_was_started_goes_before_the_server_too(world, shown, capsys):
    way, notebook = world.notebook(shown), shown["id"]
    with way.new_kernel() as first:
        site = first.value("__import__('sysconfig').get_path('purelib')")
        # A line that runs when a kernel starts: none is forked from here on.
        first.run(f"open('{site}/customized.pth', 'w').write('import builtins; builtins.customized = True')")
        with way.new_kernel() as kernel:
            assert not kernel.was_forked()
            assert kernel.value("int(open('/proc/self/oom_score_adj').read())") == 900
            first.run(MOST_READY_TO_DIE)
            server = way.request("GET", "/api/status").json()["started"]
            why = run_out(world, notebook, kernel, capsys)
        assert f"kernel `{kernel.id}`" in why, why
        assert way.request("GET", "/api/status").json()["started"] == server
        assert first.run("print(1)") == "1\n"
