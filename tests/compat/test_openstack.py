"""The OpenStack command line with the vendor's extensions (`openstack ma devenv …`), and aiforge's legacy sequence, against
the served binary. The commands find an instance by name: the server has to answer such a GET with 404, so that they go
on to the list."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from support.api import GONE
from support.server import REPOSITORY


@pytest.fixture(scope="module")
def program():
    """The command line, in its own environment."""
    made = subprocess.run(
        ["scripts/venv.sh", "openstack", "tests/compat/openstack-requirements.txt"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return Path(made.stdout.strip(), "bin", "openstack")


@pytest.fixture(scope="module")
def devenv(program, simulated):
    """Runs one command as the operator."""
    admin = simulated.server.admin()
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("OS_", "ATELIER_"))}
    environment = {
        **plain,
        "OS_AUTH_URL": f"{simulated.server.url}/v3",
        "OS_IDENTITY_API_VERSION": "3",
        "OS_REGION_NAME": "local",
        "OS_USERNAME": admin["user_name"],
        "OS_PASSWORD": admin["password"],
        "OS_PROJECT_NAME": admin["project_name"],
        "OS_USER_DOMAIN_NAME": admin["domain_name"],
        "OS_PROJECT_DOMAIN_NAME": admin["domain_name"],
        "NO_PROXY": "*",
    }

    def run(*words, refused=None):
        command = [str(program), "ma", "devenv", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        if refused:
            assert done.returncode != 0 and refused in done.stderr, f"{done.stdout}\n{done.stderr}"
            return None
        assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
        return done.stdout

    return run


def reaches(world, instance, status):
    """Waits, by the other API, until the notebook is in this status."""
    world.api.wait_for(instance.removeprefix("DE-"), status)


def test_the_command_line_leads_an_instance_through_its_life(devenv, simulated):
    made = json.loads(
        devenv(
            *("create", "one", "--profile-id", "1", "--flavor", "atelier.cpu.small", "-f", "json"),
            *("--storage-type", "evs", "--storage-path", "/home/ma-user/work/", "--autostop-duration", "3600"),
        )
    )
    instance = made["id"]
    assert instance.startswith("DE-") and made["status"] == "CREATING"
    reaches(simulated, instance, "RUNNING")

    listed = json.loads(devenv("list", "-f", "json"))
    assert [(item["ID"], item["Name"], item["status"]) for item in listed] == [(instance, "one", "RUNNING")]
    shown = json.loads(devenv("show", "one", "-f", "json"))
    assert (shown["id"], shown["name"]) == (instance, "one")

    devenv("start", "one", refused="ModelArts.6305")
    devenv("delete", "one", refused="ModelArts.6304")
    stopping = json.loads(devenv("stop", "one", "-f", "json"))
    assert (stopping["current_status"], stopping["previous_state"]) == ("STOPPING", "RUNNING")
    reaches(simulated, instance, "STOPPED")

    devenv("update", instance, "--description", "changed", "--auto-stop", "enable", "--duration", "7200")
    seen = simulated.api.call("GET", f"/demanager/instances/{instance}")
    assert (seen["description"], seen["spec"]["auto_stop"]["duration"]) == ("changed", 7200)
    started = json.loads(devenv("start", instance, "-f", "json"))
    assert started["current_status"] == "STARTING"
    reaches(simulated, instance, "RUNNING")
    lease = simulated.api.call("GET", f"/notebooks/{instance.removeprefix('DE-')}/lease")
    assert lease["create_at"] + lease["duration"] == lease["update_at"] + 7_200_000

    devenv("stop", "one")
    reaches(simulated, instance, "STOPPED")
    devenv("delete", "one", "nobody", refused="1 of 2")
    reaches(simulated, instance, GONE)
    assert json.loads(devenv("list", "-f", "json")) == []


def test_the_legacy_sequence_of_aiforge(simulated):
    call, base = simulated.api.call, "/demanager/instances"
    body = {
        "name": "forge",
        "profile_id": "Multi-Engine 2.0 (python3)",
        "flavor": "atelier.cpu.small",
        "spec": {"storage": {"type": "evs"}, "auto_stop": {"enable": True, "duration": 14400}},
        "workspace": {"id": "0"},
    }
    made = call("POST", base, body)
    # It takes every body with this member for a refusal.
    assert "error_code" not in made and made["status"] == "CREATING"
    one = f"{base}/{made['id']}"
    reaches(simulated, made["id"], "RUNNING")
    shown = call("GET", one)
    token = call("GET", f"{one}/token")["token"]
    assert shown["spec"]["annotations"]["url"].endswith("/lab") and token
    assert call("GET", f"/notebooks/{made['id'].removeprefix('DE-')}")["token"] == token
    for action, status in (("stop", "STOPPED"), ("start", "RUNNING"), ("stop", "STOPPED")):
        call("POST", f"{one}/action", {"action": action})
        reaches(simulated, made["id"], status)
    assert call("DELETE", one) == {"instance_id": made["id"]}
    reaches(simulated, made["id"], GONE)
