"""The server against its own document, by a peer's generator (schemathesis) and a fixed seed.

Requests are generated from `/openapi.json`, right ones and wrong ones, and every answer is held against it: the status,
the content type, the shape of the body, wrong input refused, no answer without a credential, nothing shown after its
deletion, and never a 5xx. Two checks are left out, each for a reason:

* `unsupported_method`: it wants 405 for a method that a path does not have. The contract's gateway answers 404 with
  `APIG.0101` for the pair of method and path, and clients read that.
* `positive_data_acceptance`: it wants every body that fits the schema to be accepted. A schema cannot say which flavors
  and images exist, or that a capacity of 5 is too small for an image; such bodies are refused with documented codes.

Each run is made of two passes. In the first, ids are generated like everything else, and most requests end at an unknown
project or notebook. In the second, they are those of real ones, so that what lies behind is reached.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest
from support.server import REPOSITORY

SEED = 20260115
LEFT_OUT = "unsupported_method,positive_data_acceptance"


@pytest.fixture(scope="module")
def schemathesis():
    """The generator's program, in its own environment."""
    made = subprocess.run(
        ["scripts/venv.sh", "schema", "tests/schema/requirements.txt"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return Path(made.stdout.strip(), "bin", "schemathesis")


def real_ids(api):
    """Configuration that puts a real project everywhere, and a real notebook where it outlives the request."""
    kept, restless = (api.create_running()["id"] for _ in range(2))
    text = f'[parameters]\n"path.project_id" = "{api.project}"\n'
    for method, path, notebook in (
        ("GET", "", kept),
        ("GET", "/lease", kept),
        ("PATCH", "/lease", kept),
        ("POST", "/start", restless),
        ("POST", "/stop", restless),
    ):
        text += f'\n[[operations]]\ninclude-name = "{method} /v1/{{project_id}}/notebooks/{{id}}{path}"\n'
        text += f'parameters = {{ "path.project_id" = "{api.project}", "path.id" = "{notebook}" }}\n'
    return text


def run(schemathesis, world, folder, configuration, examples):
    """One pass; how many cases it was made of."""
    folder.mkdir()
    settings, report = folder / "schemathesis.toml", folder / "report.json"
    settings.write_text(configuration, encoding="utf-8")
    command = [
        str(schemathesis),
        "--no-color",
        "--config-file",
        str(settings),
        "run",
        f"{world.server.url}/openapi.json",
        f"--seed={SEED}",
        f"--max-examples={examples}",
        "--checks=all",
        f"--exclude-checks={LEFT_OUT}",
        "--continue-on-failure",
        "--warnings=off",
        "--report=json",
        f"--report-json-path={report}",
        "-H",
        f"X-Auth-Token: {world.api.token()}",
    ]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ATELIER_")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return int(re.search(r"(\d+) generated", done.stdout)[1])


def both_passes(schemathesis, world, tmp_path, examples):
    """Both passes; then the server is as well as before."""
    cases = run(schemathesis, world, tmp_path / "generated", "", examples)
    cases += run(schemathesis, world, tmp_path / "real", real_ids(world.api), examples)
    assert "panicked" not in world.server.log.read_text(encoding="utf-8")
    assert world.api.http.get(f"{world.server.url}/readyz", timeout=30).status_code == 200
    print(f"{cases} cases")
    return cases


def test_a_thousand_cases_of_a_fixed_seed(schemathesis, simulated, tmp_path):
    """The tier of every change."""
    assert both_passes(schemathesis, simulated, tmp_path, 5) >= 1_000


@pytest.mark.long
def test_twenty_thousand_cases(schemathesis, simulated, tmp_path):
    """The tier of campaigns."""
    assert both_passes(schemathesis, simulated, tmp_path, 240) >= 20_000
