"""Bare HTTP: the requests that the vendor's documents print, answered with every member that they print, in the same JSON
types. And the operations that no client of others has: the free instance, and key pairs over the service's own paths."""

from ..api import SMALL
from ..deadline import wait_until
from .scoreboard import tries
from .wire import Wire

WHAT = "the examples that the vendor's documents print, and what no SDK has, as bare HTTP"
# What the documents print, with any value of the right type.
LEASE = {"create_at": 0, "duration": 0, "enable": True, "type": "", "update_at": 0}
DELETED = {
    "create_at": 0, "description": "", "feature": "", "flavor": "", "id": "",
    "image": {"description": "", "id": "", "name": "", "swr_path": "", "tag": "", "type": ""},
    "lease": {"create_at": 0, "duration": 0, "enable": True, "update_at": 0},
    "name": "", "status": "", "token": "", "update_at": 0, "workspace_id": "",
}  # fmt: skip
INSTANCE = {
    "ai_project": {"id": ""}, "creation_timestamp": "", "description": "", "flavor": "",
    "flavor_details": {"name": "", "params": {"CPU": 0, "memory": ""}, "status": "", "type": ""},
    "id": "", "latest_update_timestamp": "", "name": "",
    "profile": {
        "de_type": "", "description": "", "flavor_type": "", "id": "", "name": "",
        "provision": {
            "annotations": {"category": "", "type": ""},
            "spec": {"engine": "", "params": {"annotations": None, "image_name": "", "image_tag": "", "namespace": ""}},
            "type": "",
        },
    },
    "spec": {
        "annotations": {"target_domain": "", "url": ""},
        "auto_stop": {"duration": 0, "enable": True, "prompt": True, "remain_time": 0, "stop_timestamp": 0},
        "extend_params": None, "failed_reasons": None, "repository": None,
        "storage": {"location": {"path": "", "volume_size": 0, "volume_unit": ""}, "type": ""},
    },
    "status": "", "user": {"id": "", "name": ""}, "workspace": {"id": ""},
}  # fmt: skip


def has(answer, printed, where="the answer"):
    """Every printed member is there, in its type; of numbers, those that may have a fraction count as such."""
    if printed is None:
        return
    assert isinstance(answer, type(printed)), f"{where} is {answer!r}"
    if isinstance(printed, dict):
        for name, value in printed.items():
            assert name in answer, f"{where} has no `{name}`"
            has(answer[name], value, f"{where}.{name}")


class Printed(Wire):
    """A reader of the documents with a shell."""

    @tries("RunCodeLab")
    def code_lab(self):
        opened = self.ask("POST", "/notebooks/open", {})
        self.id = opened["id"]
        assert (opened["feature"], opened["flavor"]) == ("DEFAULT", "modelarts.vm.cpu.free")
        self.poll(None, "RUNNING")
        assert self.ask("POST", "/notebooks/open", {})["id"] == self.id

    @tries("ShowLease", "RenewLease")
    def lease(self):
        has(self.ask("GET", f"/notebooks/{self.id}/lease"), LEASE)
        renewed = self.ask("PATCH", f"/notebooks/{self.id}/lease", {"duration": 3_600_000, "type": "timing"})
        has(renewed, LEASE)
        assert renewed["type"] == "TIMING"

    @tries("DeleteNotebook")
    def delete(self):
        deleted = self.ask("DELETE", f"/notebooks/{self.id}")
        has(deleted, DELETED)
        assert deleted["status"] == "DELETING"
        self.poll(None, None)

    @tries("CreateDevEnvironInstance", "UpdateDevEnvironInstance", "ShowDevEnvironInstance")
    def legacy(self):
        spec = {"storage": {"type": "evs"}, "auto_stop": {"enable": True, "duration": 3600}}
        body = {"name": "printed", "profile_id": "Multi-Engine 2.0 (python3)", "flavor": SMALL, "spec": spec}
        one = f"/demanager/instances/{self.ask('POST', '/demanager/instances', body)['id']}"
        wait_until(lambda: self.ask("GET", one)["status"] == "RUNNING", "it runs", 60, 0.05)
        changed = self.ask("PUT", one, {"description": "This is for test."})
        has(changed, INSTANCE)
        assert changed["description"] == "This is for test."
        has(self.ask("GET", one), INSTANCE)
        self.legacy_one = one

    @tries("ManageDevEnvironInstance", "DeleteDevEnvironInstance")
    def manage(self):
        one = self.legacy_one
        self.ask("POST", f"{one}/action", {"action": "stop"})
        wait_until(lambda: self.ask("GET", one)["status"] == "STOPPED", "it rests", 60, 0.05)
        started = self.ask("POST", f"{one}/action", {"action": "start"})
        assert started == {"current_status": "STARTING", "previous_state": "STOPPED"}
        wait_until(lambda: self.ask("GET", one)["status"] == "RUNNING", "it runs", 60, 0.05)
        self.ask("POST", f"{one}/action", {"action": "stop"})
        wait_until(lambda: self.ask("GET", one)["status"] == "STOPPED", "it rests", 60, 0.05)
        self.ask("DELETE", one)
        missing = "/demanager/instances/DE-6fa459ea-ee8a-3ca4-894e-db77e160355e/action"
        answer = self.send("POST", missing, {"action": "start"})
        has(answer.json(), {"error_message": "", "error_code": ""})
        assert (answer.status_code, answer.json()["error_code"]) == (404, "ModelArts.6309")

    @tries("ListDevEnvironInstances")
    def list_legacy(self):
        listed = self.ask("GET", "/demanager/instances", de_type="Notebook")
        assert isinstance(listed["total_count"], int)
        assert isinstance(listed["instances"], list)

    @tries("CreateKeypair", "ListKeypairs", "ShowKeypair", "UpdateKeypair", "DeleteKeypair")
    def key_pairs(self):
        base = f"{self.server.url}/v3/{self.admin['project_id']}/keypairs"

        def call(method, url, body=None):
            answer = self.http.request(method, url, json=body, headers={"X-Auth-Token": self.token}, timeout=30)
            assert answer.ok, f"{method}: {answer.status_code} {answer.text[:150]}"
            return answer.json() if answer.content else {}

        made = call("POST", base, {"keypair": {"name": "printed"}})["keypair"]
        assert "PRIVATE KEY" in made["private_key"]
        assert made["public_key"].startswith("ssh-")
        listed = call("GET", base)
        assert "printed" in [item["keypair"]["name"] for item in listed["keypairs"]]
        assert "private_key" not in call("GET", f"{base}/printed")["keypair"]
        call("PUT", f"{base}/printed", {"keypair": {"description": "for tests"}})
        assert call("GET", f"{base}/printed")["keypair"]["description"] == "for tests"
        call("DELETE", f"{base}/printed")
        gone = self.http.get(f"{base}/printed", headers={"X-Auth-Token": self.token}, timeout=30)
        assert gone.status_code == 404
