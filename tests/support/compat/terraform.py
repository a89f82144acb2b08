"""The Terraform provider's way with notebooks, step by step: which request in which status, what it reads, what it waits
for, and which answers make it give up. The older and the newest provider differ, so each is a client of its own."""

import uuid

from ..api import BUILT_IN_IMAGE, SMALL
from .scoreboard import tries
from .wire import Wire

WHAT_OLD = "the requests, polls and abort rules of the Terraform provider's notebook resource, older form"
WHAT_NEW = "the same, newest form, with its data sources"
OTHER_FLAVOR = "modelarts.vm.cpu.2u"
BEGINNING = ("INIT", "CREATING", "STARTING", "SNAPSHOTTING")
FAILED = ("CREATE_FAILED", "START_FAILED", "DELETE_FAILED", "ERROR")


def definition(name):
    """What a configuration without a key pair becomes."""
    return {
        "name": name,
        "description": "made by terraform",
        "feature": "NOTEBOOK",
        "flavor": SMALL,
        "image_id": BUILT_IN_IMAGE,
        "duration": -1,
        "workspace_id": "0",
        "volume": {"category": "EVS", "ownership": "MANAGED", "capacity": 10},
    }


def read(client):
    """What both providers keep in their state."""
    shown = client.ask("GET", f"/notebooks/{client.id}")
    for member in ("name", "flavor", "description", "workspace_id", "status", "url"):
        assert isinstance(shown[member], str), member
    assert shown["image"]["id"] == BUILT_IN_IMAGE
    assert {"name", "type", "swr_path"} <= set(shown["image"])
    assert isinstance(shown["create_at"], int)
    assert isinstance(shown["update_at"], int)
    assert shown["lease"]["enable"] is False, "auto_stop_enabled after a duration of -1"
    assert {"category", "ownership", "capacity", "mount_path"} <= set(shown["volume"])
    for endpoint in shown["endpoints"]:
        assert endpoint["service"] != "SSH" or endpoint["key_pair_names"], "key_pair_names[0] is read unchecked"
    # The storages are asked for, too; a failure of that is only logged.
    client.send("GET", f"/notebooks/{client.id}/storage")
    return shown


class OldTerraform(Wire):
    """With the Go client of the community."""

    @tries("CreateNotebook", "ShowNotebook")
    def create(self):
        self.id = self.ask("POST", "/notebooks", definition("by-old-terraform"))["id"]
        self.poll(BEGINNING, "RUNNING")
        read(self)

    @tries("UpdateNotebook")
    def rename(self):
        body = {"name": "renamed", "description": "", "endpoints": [{"service": "NOTEBOOK"}]}
        self.ask("PUT", f"/notebooks/{self.id}", body)
        shown = read(self)
        assert (shown["name"], shown["description"]) == ("renamed", "")

    @tries("StopNotebook")
    def stop(self):
        self.ask("POST", f"/notebooks/{self.id}/stop")
        self.poll(("RUNNING", "STOPPING"), "STOPPED")

    @tries("UpdateNotebook")
    def change_flavor(self):
        body = {"flavor": OTHER_FLAVOR, "image_id": BUILT_IN_IMAGE, "storage_new_size": 10}
        assert self.ask("PUT", f"/notebooks/{self.id}", body)["flavor"] == OTHER_FLAVOR

    @tries("StartNotebook")
    def start(self):
        self.ask("POST", f"/notebooks/{self.id}/start", duration=-1)
        self.poll(("STARTING",), "RUNNING")
        read(self)

    @tries("RenewLease")
    def renew(self):
        renewed = self.ask("PATCH", f"/notebooks/{self.id}/lease", duration=3_600_000)
        assert (renewed["enable"], renewed["type"]) == (True, "TIMING")

    @tries("ListImage")
    def images(self):
        offset, seen = 0, []
        while True:
            page = self.ask("GET", "/images", limit=1, offset=offset)
            seen += [image["id"] for image in page["data"]]
            if page["current"] + 1 >= page["pages"]:
                break
            offset += 1
        assert BUILT_IN_IMAGE in seen

    @tries("DeleteNotebook")
    def delete(self):
        self.ask("DELETE", f"/notebooks/{self.id}", expect=(200, 202, 204))
        self.poll(("RUNNING", "DELETING"), None)


class NewTerraform(Wire):
    """With the provider's own requests."""

    def settle(self, target):
        """Everything but a failure is on the way; so is a volume that changes."""

        def status(shown):
            if shown["volume"].get("status") in ("INITIALIZING", "RESIZING", "DELETING"):
                return "volume"
            assert shown["status"] not in FAILED, f"{shown['status']}: {shown.get('fail_reason')}"
            return shown["status"]

        return self.poll(None, target, status)

    @tries("CreateNotebook", "ShowNotebook")
    def create(self):
        self.id = self.ask("POST", "/notebooks", definition("by-new-terraform"))["id"]
        self.settle("RUNNING")
        read(self)

    @tries("CreateNotebookTags", "DeleteNotebookTags")
    def tags(self):
        self.add_tags({"foo": "bar", "key": "value"})
        assert self.tags_now() == {"foo": "bar", "key": "value"}
        gone = [{"key": "foo", "value": "bar"}, {"key": "key", "value": "value"}]
        self.ask("DELETE", f"/notebooks/{self.id}/tags/delete", {"tags": gone}, expect=(204,))
        self.add_tags({"foo": "baar", "owner": "terraform"})
        assert self.tags_now() == {"foo": "baar", "owner": "terraform"}

    def add_tags(self, tags):
        """Takes 204 only."""
        body = {"tags": [{"key": key, "value": value} for key, value in tags.items()]}
        self.ask("POST", f"/notebooks/{self.id}/tags/create", body, expect=(204,), workspace_id="0")

    def tags_now(self):
        """As the state keeps them."""
        return {tag["key"]: tag["value"] for tag in self.ask("GET", f"/notebooks/{self.id}")["tags"]}

    @tries("UpdateNotebook")
    def update(self):
        body = {"name": "renamed", "description": "", "storage_new_size": 20}
        self.ask("PUT", f"/notebooks/{self.id}", body)
        shown = self.settle("RUNNING")
        assert (shown["name"], shown["description"], shown["volume"]["capacity"]) == ("renamed", "", 20)

    @tries("StopNotebook")
    def stop(self):
        stopped = self.send("POST", f"/notebooks/{self.id}/stop")
        assert stopped.ok or stopped.json()["error_code"] == "ModelArts.6357", stopped.text[:150]
        self.settle("STOPPED")
        again = self.send("POST", f"/notebooks/{self.id}/stop")
        assert (again.status_code, again.json()["error_code"]) == (400, "ModelArts.6357"), again.text[:150]

    @tries("UpdateNotebook")
    def change_flavor(self):
        body = {"flavor": OTHER_FLAVOR, "image_id": BUILT_IN_IMAGE}
        assert self.ask("PUT", f"/notebooks/{self.id}", body)["flavor"] == OTHER_FLAVOR

    @tries("StartNotebook")
    def start(self):
        self.ask("POST", f"/notebooks/{self.id}/start", duration=-1)
        self.settle("RUNNING")
        read(self)

    @tries("ListFlavors")
    def flavors(self):
        for flavor in self.ask("GET", "/notebooks/flavors", expect=(200,), category="CPU")["data"]:
            assert isinstance(flavor["memory"], int)
            members = {"id", "name", "arch", "category", "description", "feature", "vcpus", "free", "sold_out"}
            assert members <= set(flavor), f"without {members - set(flavor)}"

    @tries("ListImage")
    def images(self):
        page = self.ask("GET", "/images", limit=200, offset=0, type="BUILD_IN", workspace_id="0")
        assert len(page["data"]) < 200, "a full page would be asked on for ever"
        members = {"id", "name", "namespace", "resource_categories", "dev_services", "swr_path", "type", "arch", "status"}
        for image in page["data"]:
            assert members <= set(image), f"without {members - set(image)}"

    @tries("ListNotebooks")
    def notebooks(self):
        filters = {"feature": "NOTEBOOK", "flavor": "modelarts", "image_id": BUILT_IN_IMAGE, "name": "renamed"}
        page = self.ask("GET", "/notebooks", limit=50, offset=0, id=self.id, status="RUNNING", workspace_id="0", **filters)
        (shown,) = page["data"]
        assert isinstance(shown["lease"]["create_at"], int)
        assert shown["tags"]
        assert isinstance(shown["user_id"], str)

    @tries("DeleteNotebook")
    def delete(self):
        self.ask("DELETE", f"/notebooks/{self.id}", expect=(200, 202, 204))
        self.settle(None)

    @tries("CreateNotebook", "ShowNotebook", "DeleteNotebook")
    def dedicated(self):
        """A file system of the user's own: its address and id come back as they were sent, or it would be made anew."""
        own = {"uri": "nas:/export", "id": str(uuid.uuid4())}
        wanted = {
            **definition("on-a-file-system"),
            "pool_id": "team-a",
            "volume": {"category": "EFS", "ownership": "DEDICATED", **own},
        }
        self.id = self.ask("POST", "/notebooks", wanted)["id"]
        volume = self.settle("RUNNING")["volume"]
        assert (volume["category"], volume["ownership"], volume["uri"], volume["id"]) == ("EFS", "DEDICATED", *own.values())
        self.delete()
