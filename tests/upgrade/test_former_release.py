"""What a former build has started, the present one takes over: inits of a former release run on in notebooks."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.server import REPOSITORY
from support.world import World

pytestmark = [pytest.mark.local, pytest.mark.long]

# Says which build is the former one; any name of a commit.
NAMED = "ATELIER_TEST_FORMER_COMMIT"
# What the two sides speak, and who speaks it.
PROTOCOL = ["crates/atelier-init/src", "crates/atelier-runtime-local/src/control.rs"]
# What a commit must hold to be built as a server: the first one that could serve had lost the second file.
SERVE = "crates/atelier/src/commands/serve.rs"
IMAGES = "crates/atelier-runtime-local/src/image/mod.rs"


def git(*arguments):
    """What git answers, without its line end."""
    asked = subprocess.run(["git", *arguments], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    return asked.stdout.strip()


def former_commit():
    """The newest commit before this one that touched the protocol, as far as it could serve already; else the first one
    that could: the oldest build that speaks what is spoken today."""
    if NAMED in os.environ:
        return git("rev-parse", "--verify", f"{os.environ[NAMED]}^{{commit}}")
    assert git("rev-parse", "--is-shallow-repository") == "false", (
        f"this is a shallow clone: `git fetch --unshallow`, or name a commit that is here in `{NAMED}`"
    )
    for commit in git("log", "--format=%H", "HEAD~1", "--", *PROTOCOL).split():
        if can_serve(commit):
            return commit
    both = git("log", "--format=%H", "--diff-filter=A", "HEAD~1", "--", SERVE, IMAGES).split()
    return next(commit for commit in reversed(both) if can_serve(commit))


def can_serve(commit):
    """Whether a commit holds a whole server."""
    return len(git("ls-tree", "--name-only", commit, SERVE, IMAGES).split()) == 2


@pytest.fixture(scope="module")
def former():
    """The program of the former build. Built once, and kept beside other things that take long to make."""
    commit = former_commit()
    cache = subprocess.run(["scripts/cache.sh"], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    folder = Path(cache.stdout.strip()) / "former" / commit[:12]
    if not (folder / "atelier").exists():
        build(commit, folder)
    print("\nthe former build is", git("show", "--no-patch", "--format=%h, %s", commit))
    return folder / "atelier"


def build(commit, folder):
    """Builds a commit; only the program is kept."""
    source, target = folder / "source", folder / "target"
    source.mkdir(parents=True, exist_ok=True)
    try:
        with subprocess.Popen(["git", "archive", commit], cwd=REPOSITORY, stdout=subprocess.PIPE) as archive:
            subprocess.run(["tar", "-x", "-C", source], stdin=archive.stdout, check=True)
        assert archive.returncode == 0, f"git archive {commit}: {archive.returncode}"
        lean = {"CARGO_TARGET_DIR": str(target), "CARGO_PROFILE_DEV_DEBUG": "0", "CARGO_INCREMENTAL": "0"}
        command = ["cargo", "build", "--locked", "-p", "atelier"]
        subprocess.run(command, cwd=source, env={**os.environ, **lean}, check=True, timeout=1500)
        (target / "debug" / "atelier").rename(folder / "atelier")
    finally:
        shutil.rmtree(source)
        shutil.rmtree(target, ignore_errors=True)


def test_notebooks_of_a_former_build_are_taken_over(former):
    world = World("local")
    present, settings = world.server.binary, world.server.environment
    # A former build may not know today's settings.
    world.server.binary, world.server.environment = former, {}
    with world:
        running = world.api.create_running("running")
        stopped = world.api.create_running("stopped")["id"]
        world.api.stop(stopped)
        world.api.wait_for(stopped, "STOPPED")
        kernel = world.notebook(running).start_kernel()
        kernel.run("import os\nremembered = ['kept', os.getpid()]")
        remembered = kernel.value("remembered")
        before = world.leftovers.outliving()
        assert world.server.stop() == 0
        world.server.binary, world.server.environment = present, settings
        world.start()

        now = world.api.show(running["id"])
        assert (now["status"], now["token"]) == ("RUNNING", running["token"])
        assert not (before - world.leftovers.outliving()), "something ended with the former server"
        again = world.notebook(running).kernel(kernel.id)
        assert again.value("[remembered[0], os.getpid()]") == remembered
        assert "Jupyter Server" in log_of(world, running["id"])

        for notebook, wanted, ends in ((running["id"], "stop", "STOPPED"), (stopped, "start", "RUNNING")):
            getattr(world.api, wanted)(notebook)
            world.api.wait_for(notebook, ends)
        world.api.start(running["id"])
        world.api.wait_for(running["id"], "RUNNING")
        for notebook in (running["id"], stopped):
            shown = world.api.show(notebook)
            assert world.notebook(shown).request("GET", "/api/status").status_code == 200
            world.api.remove(notebook)


def log_of(world, notebook):
    """The log of the notebook's server."""
    url = f"{world.server.url}/atelier/v1/{world.api.project}/notebooks/{notebook}/logs"
    answer = world.api.http.get(url, headers={"X-Auth-Token": world.api.token()}, timeout=30)
    assert answer.ok, f"{answer.status_code} {answer.text[:300]}"
    return answer.text
