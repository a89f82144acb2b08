"""A server on a machine that seems to have GPUs."""

import pytest
from support.gpus import BOTH, SMALL, Machine
from support.world import World

PATTERN = 'id = "{}"\ncpu_millis = 500\nmemory_mib = 512\n'


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """A server on such a machine, with flavors for one GPU, for both, and for one of a kind that is not there."""
    machine = Machine(tmp_path_factory.mktemp("machine"))
    world = World("local", environment=machine.environment())
    world.machine = machine
    world.server.within = machine.within()
    world.server.data_dir.mkdir(mode=0o700)
    flavors = [PATTERN.format("atelier.cpu.small"), PATTERN.format(SMALL) + "gpus = 1", PATTERN.format(BOTH) + "gpus = 2"]
    flavors += [PATTERN.format("fake.gpu.other") + 'gpus = 1\ngpu_type = "Another"']
    text = "\n".join(f"[[flavors]]\n{flavor}" for flavor in flavors)
    (world.server.data_dir / "atelier.toml").write_text(text, encoding="ascii")
    with world:
        yield world
