"""Packages that people install: they survive a stop, and a kernel is forked only when that makes no difference."""

import pytest
from support.world import World

pytestmark = pytest.mark.local

ENVIRONMENT = "/home/ma-user/work/.environment"
FACTS = """(lambda: (
    __import__('sys').prefix, __import__('sys').executable, __import__('sysconfig').get_path('purelib'),
    [path for path in __import__('sys').path if 'site-packages' in path],
))()"""
# A wheel is made by hand, because no package index is asked here.
WHEEL = """
import zipfile
with zipfile.ZipFile('/tmp/kept-1.0-py3-none-any.whl', 'w') as wheel:
    wheel.writestr('kept.py', 'def say(): print("still here")')
    wheel.writestr('kept-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: kept\\nVersion: 1.0\\n')
    wheel.writestr('kept-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    wheel.writestr('kept-1.0.dist-info/entry_points.txt', '[console_scripts]\\nkept-says = kept:say\\n')
    wheel.writestr('kept-1.0.dist-info/RECORD', '')
"""
INSTALL = "%pip install --quiet --no-index /tmp/kept-1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def world():
    """A server whose notebooks are forked."""
    with World("local") as world:
        world.api.remove(world.create_forked()["id"])
        yield world


@pytest.fixture
def shown(world):
    """A notebook of its own."""
    shown = world.create_forked()
    yield shown
    world.api.remove(shown["id"])


def again(world, shown):
    """The notebook after a stop and a start: nothing but its volume is what it was."""
    world.api.stop(shown["id"])
    world.api.wait_for(shown["id"], "STOPPED")
    world.api.start(shown["id"])
    return world.notebook(world.api.wait_for_running(shown["id"]))


def facts(kernel):
    """Which environment a kernel has, and whether it was forked."""
    return kernel.value(FACTS), kernel.was_forked()


def test_what_pip_installs_survives_a_stop(world, shown):
    """A module, and the program that came with it, in cells, shells and kernels."""
    with world.notebook(shown).new_kernel() as kernel:
        before, forked = facts(kernel)
        assert forked and before[:2] == [ENVIRONMENT, f"{ENVIRONMENT}/bin/python"]
        kernel.run(WHEEL)
        kernel.run(INSTALL)
        kernel.run("!kept-says > /dev/null")
    with again(world, shown).new_kernel() as kernel:
        assert kernel.run("import kept; kept.say()") == "still here\n"
        assert kernel.run("!kept-says").strip() == "still here"
        # The image's packages are there as well, and what was installed made no start slower.
        kernel.run("import numpy")
        assert facts(kernel) == (before, True)


def test_a_kernel_is_started_when_what_is_installed_would_be_imported_instead(world, shown):
    """What is in the zygote's memory is not what is on disk then."""
    notebook = world.notebook(shown)
    with notebook.new_kernel() as kernel:
        (_, _, site, _), forked = facts(kernel)
        assert forked
        kernel.run(f"import os, shutil, comm; shutil.copytree(os.path.dirname(comm.__file__), '{site}/comm')")
    with notebook.new_kernel() as kernel:
        assert kernel.value("__import__('comm').__file__") == f"{site}/comm/__init__.py"
        same, forked = facts(kernel)
        assert not forked
        kernel.run(f"import shutil; shutil.rmtree('{site}/comm')")
    with notebook.new_kernel() as kernel:
        assert facts(kernel) == (same, True), "it is as the started one was"
        kernel.run(f"open('{site}/customized.pth', 'w').write('import builtins; builtins.customized = True')")
    with notebook.new_kernel() as kernel:
        assert kernel.value("customized") is True
        assert not facts(kernel)[1]


def test_a_folder_that_is_named_counts(world, shown):
    """As an editable installation does."""
    notebook = world.notebook(shown)
    with notebook.new_kernel() as kernel:
        (_, _, site, _), _ = facts(kernel)
        kernel.run(f"open('{site}/mine.pth', 'w').write('/home/ma-user/work/mine')")
        kernel.run("import os; os.mkdir('mine'); open('mine/of_mine.py', 'w').write('value = 7')")
    with notebook.new_kernel() as kernel:
        assert facts(kernel)[1]
        assert kernel.value("__import__('of_mine').value") == 7


def test_a_volume_without_the_environment_serves(world, shown):
    """Something else has its name: the image's packages are there, and what is installed ends with the run."""
    with world.notebook(shown).new_kernel() as kernel:
        kernel.run(f"!rm -r {ENVIRONMENT} && touch {ENVIRONMENT}")
    with again(world, shown).new_kernel() as kernel:
        (prefix, *_), forked = facts(kernel)
        assert (prefix, forked) == ("/opt/atelier/user", False)
        kernel.run(WHEEL)
        kernel.run(INSTALL)
        assert kernel.run("import kept; kept.say()") == "still here\n"
        kernel.run(f"!rm {ENVIRONMENT}")
    with again(world, shown).new_kernel() as kernel:
        assert facts(kernel)[0][0] == ENVIRONMENT
        assert kernel.value("__import__('importlib.util').util.find_spec('kept') is None")


def test_an_environment_that_was_half_made_is_completed(world, shown):
    """By a start that was cut short: a link was there under the name it has for a moment, and not yet under its own."""
    with world.notebook(shown).new_kernel() as kernel:
        kernel.run(f"!cd {ENVIRONMENT}/bin && mv python python.new && ln -s python3 python3.new && rm python3")
    with again(world, shown).new_kernel() as kernel:
        assert facts(kernel)[0][:2] == [ENVIRONMENT, f"{ENVIRONMENT}/bin/python"]
        assert "python3.new" not in kernel.run(f"!ls {ENVIRONMENT}/bin")
