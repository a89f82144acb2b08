"""What a notebook's owner has run at its starts: in order, with its output in the log, and curable when it fails."""

import base64
import os
import signal
import subprocess

import pytest
from support.deadline import wait_until
from support.world import World

pytestmark = pytest.mark.local

WORK = "/home/ma-user/work"


@pytest.fixture(scope="module")
def world():
    """A server whose hooks may not run long."""
    with World("local", environment={"ATELIER_HOOKS__LIMIT_SECONDS": "60"}) as world:
        yield world


def command(text, mode="BLOCK"):
    """A hook that runs this text."""
    return {"script": base64.b64encode(text.encode()).decode(), "type": "COMMAND", "mode": mode}


def hooks(**container):
    """The field of a request."""
    return {"container_hooks": container}


def run(world, *arguments):
    """One command; what it printed."""
    command = [world.server.binary, "notebook", *arguments, "--data-dir", world.server.data_dir]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_hooks_run_around_each_start_and_are_read_in_the_log(world, tmp_path):
    # From here on servers are forked.
    world.api.remove(world.create_forked()["id"])
    before, after = tmp_path / "before.sh", tmp_path / "after.sh"
    # The notebook server's socket is there while it serves, and only then.
    seen = "test -S /run/atelier/nb/server.sock && echo serving || echo nobody serves"
    before.write_text(f"echo preparing; {{ {seen}; }} >> {WORK}/seen.txt", encoding="ascii")
    after.write_text(f"{{ {seen}; }} >> {WORK}/seen.txt; echo $(id -un) is done", encoding="ascii")
    run(world, "create", "hooked", "--flavor", "atelier.cpu.small", "--pre-start", before, "--post-start", after)
    notebook = next(shown["id"] for shown in world.api.list() if shown["name"] == "hooked")
    told = world.api.events(notebook)
    assert told == ["create.asked", "hook.done", "hook.done", "create.done"], told
    log = run(world, "logs", "hooked")
    assert log.index("[pre_start] preparing\n") < log.index("[post_start] ma-user is done\n"), log
    assert "[post_start] ended with status 0 after " in log, log
    assert "pre_start (BLOCK COMMAND), post_start (BLOCK COMMAND)" in run(world, "show", "hooked")

    run(world, "stop", "hooked")
    run(world, "start", "hooked")
    # Hooks do not stand in the way of the fast start.
    assert "forked from the zygote" in world.api.events(notebook, "start.done")[0]
    kernel = world.notebook(world.api.show(notebook)).start_kernel()
    assert kernel.run(f"print(open('{WORK}/seen.txt').read(), end='')") == "nobody serves\nserving\n" * 2
    kernel.close()


def test_a_hook_that_fails_strands_the_start_and_an_update_cures_it(world):
    text = f"echo looking; echo kept > {WORK}/kept.txt; cat /no/such/file; exit 3"
    notebook = world.api.create("fails", hooks=hooks(pre_start=command(text)))["id"]
    assert world.api.wait_until_stable(notebook) == "START_FAILED"
    shown = world.api.show(notebook)
    assert "the hook `pre_start` ended with status 3 after " in shown["fail_reason"], shown
    assert shown["fail_reason"].endswith(": looking / cat: /no/such/file: No such file or directory"), shown
    assert shown["hooks"] == hooks(pre_start=command(text))
    assert "[pre_start] cat: /no/such/file: No such file or directory\n" in run(world, "logs", "fails")
    assert not any(notebook in group for group in world.leftovers.cgroups()), "its container is taken down"

    world.api.call("PUT", f"/notebooks/{notebook}", {"hooks": hooks(post_start=command("exit 4", "ASYNC"))})
    world.api.start(notebook)
    world.api.wait_for(notebook, "RUNNING")
    wait_until(lambda: len(world.api.events(notebook, "hook.failed")) == 2, "the other hook's end is told", 30)
    assert "`post_start` ended with status 4" in world.api.events(notebook, "hook.failed")[1]
    kernel = world.notebook(world.api.show(notebook)).start_kernel()
    assert kernel.run(f"print(open('{WORK}/kept.txt').read())") == "kept\n\n", "the volume of the failed start is kept"
    kernel.close()
    run(world, "stop", "fails")
    run(world, "update", "fails", "--no-hooks")
    assert "hooks" not in world.api.show(notebook)


def test_a_deletion_does_not_wait_for_a_hook(world):
    text = "trap '' TERM; sleep 50.1; sleep 50.1"
    notebook = world.api.create("deleted", hooks=hooks(pre_start=command(text)))["id"]
    wait_until(lambda: "running the hook" in str(world.api.show(notebook).get("action_progress")), "it waits for it", 60)
    world.api.remove(notebook, seconds=25)
    assert not any("sleep 50.1" in line or notebook in line for line in world.leftovers.take())


def sleeps(world):
    return [process for process in world.leftovers.outliving() if process.command.startswith("sleep 50.")]


def test_a_start_outlives_its_server_and_its_hook_runs_once(world):
    beside = command("sleep 50.2; true", "ASYNC")
    waited_for = command(f"echo once >> {WORK}/ran.txt; sleep 50.3; true")
    notebook = world.api.create("outlives", hooks=hooks(pre_start=beside, post_start=waited_for))["id"]
    wait_until(lambda: "`post_start`" in str(world.api.show(notebook).get("action_progress")), "it waits for it", 60)
    wait_until(lambda: len(sleeps(world)) == 2, "both hooks have come that far", 30)
    world.server.kill()
    sleeping = sleeps(world)
    assert len(sleeping) == 2, sleeping
    for process in sleeping:
        os.kill(process.pid, signal.SIGTERM)
    world.start()
    world.api.wait_for(notebook, "RUNNING")
    wait_until(lambda: len(world.api.events(notebook, "hook.done")) == 2, "both ends are told", 30)
    kernel = world.notebook(world.api.show(notebook)).start_kernel()
    assert kernel.run(f"print(open('{WORK}/ran.txt').read())") == "once\n\n"
    kernel.close()
