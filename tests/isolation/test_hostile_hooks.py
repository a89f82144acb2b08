"""A hook, which the first process of a container starts by itself, before anything of the user's runs there and again when
it does: it can no more than a cell."""

import base64
import json

import pytest
from support.attempts import names
from support.notebook import Notebook
from test_files import open_file_of_the_machine
from test_processes import (
    environment_of_the_first_process,
    higher_priority,
    own_first_process,
    processes_of_the_machine,
    trace_the_first_process,
)

pytestmark = pytest.mark.local

RESULTS = "/home/ma-user/work/{moment}.json"
# As `in_the_cell` runs them there.
RUN = """
import json, subprocess, sys
def brings(program):
    done = subprocess.run([sys.executable, '-I', '-S', '-c', program + '\\nprint(brought)'], capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else f'ended with {{done.returncode}}: {{done.stderr[-600:]}}'
json.dump([brings(program) for program in {programs!r}], open({results!r}, 'w'))
"""

ATTEMPTS = [
    open_file_of_the_machine,
    processes_of_the_machine,
    own_first_process,
    environment_of_the_first_process,
    trace_the_first_process,
    higher_priority,
]
SOUND = "brought = 'tried'"
MOMENTS = ("pre_start", "post_start")


def hook(stage, moment):
    """Tries everything, and fails when it could not try."""
    programs = [*(attempt(stage).program for attempt in ATTEMPTS), SOUND]
    text = RUN.format(programs=programs, results=RESULTS.format(moment=moment))
    script = f"exec python3 - <<'THE_END'\n{text}\nTHE_END\n"
    return {"script": base64.b64encode(script.encode()).decode(), "type": "COMMAND", "mode": "BLOCK"}


@pytest.fixture(scope="module")
def brought(stage):
    """What the hooks of a notebook have brought home, attempt by attempt."""
    hooks = {"container_hooks": {moment: hook(stage, moment) for moment in MOMENTS}}
    shown = stage.world.api.create_running("hooks", hooks=hooks)
    kernel = Notebook(stage.world.server, shown).start_kernel()
    texts = [kernel.run(f"print(open({RESULTS.format(moment=moment)!r}).read())") for moment in MOMENTS]
    kernel.close()
    results = [json.loads(text) for text in texts]
    assert [moment[-1] for moment in results] == ["tried\n"] * 2, "what is allowed is not, so the attempts prove nothing"
    yield results
    stage.world.api.remove(shown["id"])


@pytest.mark.parametrize("attempt", **names(ATTEMPTS))
def test_hook(stage, brought, attempt):
    for moment in brought:
        attempt(stage).judge(moment[ATTEMPTS.index(attempt)])
