"""The OpenStack command line with the vendor's extensions: `openstack ma devenv …`, over the legacy API.

The commands find an instance by its name: the server has to answer such a GET with 404, so that they go on to the list.
The environment is one of its own, because the client's version is: with openstacksdk from 4.1 on these commands fail
inside the client.
"""

import json
import os
import subprocess
from pathlib import Path

from ..api import Api
from ..deadline import wait_until
from .scoreboard import REPOSITORY, tries

WHAT = "`openstack ma devenv …` (otcextensions 0.34.8, openstacksdk 4.0.1), over the legacy API"
CREATE = (
    "--profile-id", "1", "--flavor", "atelier.cpu.small", "--storage-type", "evs", "--storage-path",
    "/home/ma-user/work/", "--autostop-duration", "3600",
)  # fmt: skip


class Openstack:
    """One operator at a shell."""

    def __init__(self, world):
        made = subprocess.run(
            ["scripts/venv.sh", "openstack", "tests/compat/openstack-requirements.txt"],
            cwd=REPOSITORY, stdout=subprocess.PIPE, check=True, text=True,
        )  # fmt: skip
        self.program = Path(made.stdout.strip(), "bin", "openstack")
        self.api = Api(world.server)
        admin = world.server.admin()
        plain = {key: value for key, value in os.environ.items() if not key.startswith(("OS_", "ATELIER_"))}
        self.environment = {
            **plain,
            "OS_AUTH_URL": f"{world.server.url}/v3",
            "OS_IDENTITY_API_VERSION": "3",
            "OS_REGION_NAME": admin["region"],
            "OS_USERNAME": admin["user_name"],
            "OS_PASSWORD": admin["password"],
            "OS_PROJECT_NAME": admin["project_name"],
            "OS_USER_DOMAIN_NAME": admin["domain_name"],
            "OS_PROJECT_DOMAIN_NAME": admin["domain_name"],
            "NO_PROXY": "*",
        }
        self.id = None

    def run(self, *words, refused=None):
        """One command; what it printed, or the refusal that is expected of it."""
        command = [str(self.program), "ma", "devenv", *words]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )  # fmt: skip
        said = (done.stderr.strip().splitlines() or [""])[-1]
        if refused:
            assert done.returncode != 0, f"{words[0]} was not refused"
            assert refused in done.stderr, f"{words[0]}: {said}"
            return None
        assert done.returncode == 0, f"{words[0]}: {said}"
        return json.loads(done.stdout) if done.stdout.lstrip().startswith(("{", "[")) else done.stdout

    def reaches(self, status):
        """The commands do not wait; this does, by the other API."""
        self.api.wait_for(self.id.removeprefix("DE-"), status)

    @tries("CreateDevEnvironInstance")
    def create(self):
        made = self.run("create", "by-openstack", *CREATE, "-f", "json")
        self.id = made["id"]
        assert made["status"] == "CREATING"
        self.reaches("RUNNING")

    @tries("ListDevEnvironInstances")
    def list(self):
        listed = self.run("list", "-f", "json")
        found = [(item["Name"], item["status"]) for item in listed if item["ID"] == self.id]
        assert found == [("by-openstack", "RUNNING")]

    @tries("ShowDevEnvironInstance")
    def show(self):
        assert self.run("show", "by-openstack", "-f", "json")["id"] == self.id
        self.run("show", "nobody", refused="nobody")

    @tries("ManageDevEnvironInstance")
    def stop_and_start(self):
        self.run("start", "by-openstack", refused="ModelArts.6305")
        stopping = self.run("stop", "by-openstack", "-f", "json")
        assert (stopping["current_status"], stopping["previous_state"]) == ("STOPPING", "RUNNING")
        self.reaches("STOPPED")
        self.run("stop", "by-openstack", refused="ModelArts.6307")

    @tries("UpdateDevEnvironInstance")
    def update(self):
        self.run("update", self.id, "--description", "changed", "--auto-stop", "enable", "--duration", "7200")
        seen = self.api.call("GET", f"/demanager/instances/{self.id}")
        assert (seen["description"], seen["spec"]["auto_stop"]["duration"]) == ("changed", 7200)
        assert self.run("start", self.id, "-f", "json")["current_status"] == "STARTING"
        self.reaches("RUNNING")
        lease = self.api.call("GET", f"/notebooks/{self.id.removeprefix('DE-')}/lease")
        assert lease["create_at"] + lease["duration"] == lease["update_at"] + 7_200_000

    @tries("DeleteDevEnvironInstance")
    def delete(self):
        self.run("delete", "by-openstack", refused="ModelArts.6304")
        self.run("stop", "by-openstack")
        self.reaches("STOPPED")
        self.run("delete", "by-openstack", "nobody", refused="1 of 2")
        wait_until(
            lambda: self.id not in [item["ID"] for item in self.run("list", "-f", "json")], "the instance is gone", 60
        )
