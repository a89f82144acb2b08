"""The server is replaced by another build while cells run, and their clients come back.

The other build is a copy of the program under another path, as an installation of a new release is. Clients listen to a
number every 10 ms, come back with the same session, and must have heard every number once: the notebook server keeps
what a kernel says while the last socket of a session is gone, and the gateway, when it goes in order, ends its sockets
behind the last word that was said on them.
"""

import pytest
from support.trial import COUNT, Trial, another_path
from support.world import World

pytestmark = pytest.mark.local

NOTEBOOKS = 3


@pytest.fixture(scope="module")
def trial():
    with World("local") as world:
        yield Trial(world, NOTEBOOKS, NOTEBOOKS)


@pytest.fixture
def other_build(trial, tmp_path):
    """The program once more, elsewhere; the next start takes it."""
    return another_path(trial.world.server.binary, tmp_path / "next")


def test_in_order_nothing_is_missed(trial, other_build):
    def replace():
        assert trial.world.server.stop() == 0, trial.world.server.text()
        trial.world.server.binary = other_build
        trial.world.start()

    for listener in trial.replace(replace):
        assert listener.numbers == list(range(COUNT)), f"missing {listener.missing()}, repeated {listener.repeated()}"
        assert [gap.close_code for gap in listener.gaps] == [1012]
    trial.check()


def test_killed_it_loses_no_more_than_what_it_had_in_its_hands(trial, other_build):
    def replace():
        trial.world.server.kill()
        trial.world.server.binary = other_build
        trial.world.start()

    for listener in trial.replace(replace):
        assert listener.numbers == sorted(set(listener.numbers)), f"repeated {listener.repeated()}"
        missing = listener.missing()
        print("missing after the kill:", missing)
        # One hole at most, and where the socket broke; everything from the first kept message on is there.
        heard = listener.gaps[0].numbers
        assert missing == list(range(heard, heard + len(missing))), f"missing {missing}; the socket broke after {heard}"
        assert heard + len(missing) < COUNT, "nothing came after the kill"
    trial.check()
