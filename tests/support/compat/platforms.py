"""Two platforms with requests of their own: aiforge, which manages notebooks for the users of a Git server, and the
scripts of the agent skill, whose spelling differs from the documents'."""

from ..api import BUILT_IN_IMAGE, SMALL
from ..deadline import wait_until
from .scoreboard import tries
from .wire import Wire

WHAT_AIFORGE = "OpenI aiforge's sequence: log-in by password, polling by status names, errors read out of every body"
WHAT_SKILL = "the agent skill's spelling: `image.id`, any case, leases in the body"
FOUR_HOURS = 14_400_000


class Aiforge(Wire):
    """Reads `error_code` in every body, whatever the status, and sends its token twice."""

    def look(self, method, path, body=None, **query):
        """The body; a member `error_code` makes it a failure."""
        answer = self.send(method, path, body, headers={"Authorization": f"Bearer {self.token}"}, **query)
        read = answer.json()
        assert "error_code" not in read, f"{method} {path}: {answer.text[:150]}"
        return read

    def status(self):
        """What it shows to its users."""
        return self.look("GET", f"/notebooks/{self.id}")["status"]

    @tries("CreateNotebook", "ShowNotebook")
    def create(self):
        volume = {"category": "EVS", "ownership": "MANAGED", "capacity": 5}
        body = {
            "name": "by-aiforge", "description": "", "feature": "NOTEBOOK", "flavor": SMALL, "image_id": BUILT_IN_IMAGE,
            "duration": FOUR_HOURS, "pool_id": "", "workspace_id": "0", "volume": volume,
        }  # fmt: skip
        self.id = self.look("POST", "/notebooks", body)["id"]
        wait_until(lambda: self.status() == "RUNNING", "it runs", 60, 0.05)
        shown = self.look("GET", f"/notebooks/{self.id}")
        assert shown["url"].endswith("/lab")
        assert shown["token"]
        assert shown["lease"]["duration"] == shown["lease"]["update_at"] - shown["lease"]["create_at"] + FOUR_HOURS

    @tries("StopNotebook", "StartNotebook")
    def manage(self):
        assert self.look("POST", f"/notebooks/{self.id}/stop")["status"] == "STOPPING"
        wait_until(lambda: self.status() == "STOPPED", "it rests", 60, 0.05)
        assert self.look("POST", f"/notebooks/{self.id}/start", duration=FOUR_HOURS)["status"] == "STARTING"
        wait_until(lambda: self.status() == "RUNNING", "it runs again", 60, 0.05)

    @tries("ListImage")
    def images(self):
        assert self.look("GET", "/images")["data"]

    @tries("DeleteNotebook")
    def delete(self):
        self.look("DELETE", f"/notebooks/{self.id}")
        wait_until(lambda: self.send("GET", f"/notebooks/{self.id}").status_code == 404, "it is gone", 60, 0.05)
        again = self.send("DELETE", f"/notebooks/{self.id}").json()
        assert "error_code" in again


    @tries(
        "CreateDevEnvironInstance", "ShowDevEnvironInstance", "ShowDevEnvironInstanceToken",
        "ManageDevEnvironInstance", "DeleteDevEnvironInstance",
    )  # fmt: skip
    def legacy(self):
        base = "/demanager/instances"
        body = {
            "name": "forge", "profile_id": "Multi-Engine 2.0 (python3)", "flavor": SMALL,
            "spec": {"storage": {"type": "evs"}, "auto_stop": {"enable": True, "duration": 14_400}},
            "workspace": {"id": "0"},
        }  # fmt: skip
        made = self.look("POST", base, body)
        one = f"{base}/{made['id']}"

        def reaches(status):
            wait_until(lambda: self.look("GET", one)["status"] == status, f"it is {status}", 60, 0.05)

        reaches("RUNNING")
        shown = self.look("GET", one)
        assert shown["spec"]["annotations"]["url"].endswith("/lab")
        token = self.look("GET", f"{one}/token")["token"]
        assert self.look("GET", f"/notebooks/{made['id'].removeprefix('DE-')}")["token"] == token
        for action, status in (("stop", "STOPPED"), ("start", "RUNNING"), ("stop", "STOPPED")):
            self.look("POST", f"{one}/action", {"action": action})
            reaches(status)
        assert self.look("DELETE", one) == {"instance_id": made["id"]}


class Skill(Wire):
    """Signs with an access key in reality; the signature is the SDK's and tried there."""

    @tries("CreateNotebook")
    def create(self):
        body = {
            "name": "by-skill", "image": {"id": BUILT_IN_IMAGE}, "feature": "Notebook", "flavor": SMALL,
            "volume": {"category": "evs", "ownership": "managed", "capacity": 5},
            "lease": {"type": "timing", "duration": 3_600_000, "enable": True}, "workspace_id": "0",
        }  # fmt: skip
        made = self.ask("POST", "/notebooks", body)
        self.id = made["id"]
        assert (made["feature"], made["lease"]["type"]) == ("NOTEBOOK", "TIMING")
        self.poll(None, "RUNNING")

    @tries("ListNotebooks")
    def list(self):
        page = self.ask("GET", "/notebooks", feature="Notebook", limit=20, offset=0, workspace_id="0")
        assert self.id in [shown["id"] for shown in page["data"]]

    @tries("RenewLease")
    def renew(self):
        renewed = self.ask("PATCH", f"/notebooks/{self.id}/lease", {"duration": 7_200_000, "type": "idle"})
        assert renewed["type"] == "IDLE"

    @tries("DeleteNotebook")
    def delete(self):
        self.ask("DELETE", f"/notebooks/{self.id}")
        self.poll(None, None)
