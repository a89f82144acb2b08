"""The vendor's own Python SDK: its requests, its signature, its reading of the answers."""

import huaweicloudsdkmodelarts.v1 as modelarts
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException

from ..api import BUILT_IN_IMAGE, SMALL
from ..deadline import wait_until
from .scoreboard import tries

WHAT = "the vendor's Python SDK (`huaweicloudsdkmodelarts` 3.1.219), every answer held against its own model classes"
HOUR = 3_600_000
OTHER_FLAVOR = "modelarts.vm.cpu.2u"


class Sdk:
    """One caller with an access key."""

    def __init__(self, world):
        admin = world.server.admin()
        credentials = BasicCredentials(admin["access_key"], admin["secret_key"], admin["project_id"])
        builder = modelarts.ModelArtsClient.new_builder().with_credentials(credentials)
        self.client = builder.with_endpoint(world.server.url).build()
        self.admin = admin
        self.id = None

    def ask(self, operation, **fields):
        """One call, with the answer read by the SDK's own classes."""
        answer = getattr(self.client, operation)(getattr(modelarts, _request_of(operation))(**fields))
        agrees(answer, operation)
        return answer

    def becomes(self, status):
        """Polls, as scripts do."""

        def arrived():
            shown = self.ask("show_notebook", id=self.id)
            assert not shown.status.endswith("FAILED"), f"{shown.status}: {shown.fail_reason}"
            return shown if shown.status == status else None

        return wait_until(arrived, f"{self.id} becomes {status}", 60, 0.05)

    @tries("ListFlavors")
    def flavors(self):
        listed = self.ask("list_flavors")
        assert SMALL in [flavor.id for flavor in listed.flavors]
        assert self.ask("list_flavors", category="CPU", limit=1, sort_key="name", sort_dir="ASC").size == 1

    @tries("ListImage")
    def images(self):
        assert BUILT_IN_IMAGE in [image.id for image in self.ask("list_image", limit=50, type="BUILD_IN").data]

    @tries("ListFeatures")
    def features(self):
        told = self.ask("list_features", feature="NOTEBOOK")
        assert told.enabled is True
        assert told.quota > told.used

    @tries("ListAuthoringClusters")
    def clusters(self):
        for kind in ("MANAGED", "DEDICATED"):
            assert self.ask("list_authoring_clusters", type=kind).total >= 0

    @tries("ShowCluster")
    def cluster(self):
        first = self.ask("list_authoring_clusters", type="MANAGED").data[0]
        assert self.ask("show_cluster", cluster_id=first.logic_cluster_id).pool_id == first.pool_id

    @tries("CreateNotebook", "ShowNotebook")
    def create(self):
        volume = modelarts.VolumeMountRequest(category="EVS", ownership="MANAGED", capacity=5)
        body = modelarts.NotebookCreateRequest(
            name="by-sdk", description="made by the SDK", feature="NOTEBOOK", flavor=SMALL, image_id=BUILT_IN_IMAGE,
            volume=volume, workspace_id="0", duration=HOUR,
        )  # fmt: skip
        made = self.ask("create_notebook", body=body)
        self.id = made.id
        assert made.status == "CREATING"
        assert [step.step for step in made.action_progress] == [1, 2, 3, 4]
        shown = self.becomes("RUNNING")
        assert (shown.url.rsplit("/", 1)[1], bool(shown.token)) == ("lab", True)
        assert shown.billing_items == ["COMPUTE"]
        assert shown.user.id == shown.user_id == self.admin["user_id"]

    @tries("ListNotebooks")
    def list(self):
        for filters in (
            {"name": "by-s", "status": "RUNNING", "workspace_id": "0", "feature": "NOTEBOOK"},
            {"flavor": "small", "image_id": BUILT_IN_IMAGE, "id": self.id, "description": "made by"},
            {"owner": self.admin["user_id"], "username": self.admin["user_name"], "billing": "COMPUTE"},
            {"limit": 50, "offset": 0, "sort_key": "create_at", "sort_dir": "ASC"},
        ):
            page = self.ask("list_notebooks", **filters)
            assert [shown.id for shown in page.data] == [self.id], filters
            assert (page.current, page.pages, page.total) == (0, 1, 1), filters
        assert self.ask("list_notebooks", name="another").total == 0

    @tries("ListAllNotebooks")
    def list_all(self):
        assert self.id in [shown.id for shown in self.ask("list_all_notebooks", owner=self.admin["user_id"]).data]

    @tries("ShowLease", "RenewLease")
    def lease(self):
        before = self.ask("show_lease", id=self.id)
        renewed = self.ask("renew_lease", id=self.id, body=modelarts.LeaseReq(duration=2 * HOUR, type="timing"))
        assert renewed.create_at == before.create_at
        assert renewed.duration == renewed.update_at - renewed.create_at + 2 * HOUR
        assert self.ask("renew_lease", id=self.id, duration=HOUR, body=modelarts.LeaseReq()).type == "TIMING"

    @tries("CreateNotebookTags", "ShowNotebookTags", "DeleteNotebookTags")
    def tags(self):
        pairs = [modelarts.TmsTag(key="team", value="one"), modelarts.TmsTag(key="use", value="")]
        body = modelarts.CreateTmsTagsRequest(tags=pairs)
        assert self.ask("create_notebook_tags", resource_id=self.id, body=body).status_code == 204
        told = {tag.key: tag.values for tag in self.ask("show_notebook_tags").tags}
        assert told["team"] == ["one"]
        assert self.ask("list_notebooks", tags="team|one").total == 1
        body = modelarts.DeleteTmsTagsRequest(tags=[modelarts.TmsTag(key="team", value="one")])
        assert self.ask("delete_notebook_tags", resource_id=self.id, body=body).status_code == 204
        assert [tag.key for tag in self.ask("show_notebook", id=self.id).tags] == ["use"]

    @tries("StopNotebook")
    def stop(self):
        assert self.ask("stop_notebook", id=self.id).status == "STOPPING"
        self.becomes("STOPPED")
        refused("ModelArts.6357", self.ask, "stop_notebook", id=self.id)

    @tries("ShowSwitchableFlavors")
    def switchable(self):
        offered = [flavor.id for flavor in self.ask("show_switchable_flavors", id=self.id).data]
        assert OTHER_FLAVOR in offered
        assert SMALL not in offered

    @tries("UpdateNotebook")
    def update(self):
        body = modelarts.NotebookUpdateRequest(name="renamed", description="", flavor=OTHER_FLAVOR)
        changed = self.ask("update_notebook", id=self.id, body=body)
        assert (changed.name, changed.description, changed.flavor) == ("renamed", "", OTHER_FLAVOR)

    @tries("StartNotebook")
    def start(self):
        assert self.ask("start_notebook", id=self.id, duration=-1).status == "STARTING"
        assert self.becomes("RUNNING").lease.enable is False

    @tries("DeleteNotebook")
    def delete(self):
        assert self.ask("delete_notebook", id=self.id).status == "DELETING"
        wait_until(lambda: self.gone(), f"{self.id} is gone", 60, 0.05)

    def gone(self):
        """Whether it is not found any more."""
        try:
            self.ask("show_notebook", id=self.id)
        except ClientRequestException as error:
            assert error.status_code == 404
            return True
        return False


def refused(code, ask, *arguments, **fields):
    """The call is refused with this code."""
    try:
        ask(*arguments, **fields)
    except ClientRequestException as error:
        assert error.error_code == code, f"{error.error_code}, not {code}"
    else:
        raise AssertionError(f"not refused with {code}")


def agrees(answer, where):
    """What came has the types that the SDK's own class declares for it, all the way down."""
    for name, kind in answer.openapi_types.items():
        value = getattr(answer, name)
        if value is not None:
            _is(kind, value, f"{where}.{name}")


def _is(kind, value, where):
    if kind.startswith("list["):
        assert isinstance(value, list), f"{where}: {type(value).__name__}, not {kind}"
        for item in value:
            _is(kind[5:-1], item, f"{where}[]")
    elif kind.startswith("dict"):
        assert isinstance(value, dict), f"{where}: {type(value).__name__}, not {kind}"
    elif hasattr(value, "openapi_types"):
        assert type(value).__name__ == kind, f"{where}: {type(value).__name__}, not {kind}"
        agrees(value, where)
    else:
        wanted = {"str": str, "int": int, "float": (int, float), "bool": bool}.get(kind)
        assert wanted is None or (isinstance(value, wanted) and (kind == "bool" or not isinstance(value, bool))), (
            f"{where}: {type(value).__name__}, not {kind}"
        )


def _request_of(operation):
    return "".join(word.capitalize() for word in operation.split("_")) + "Request"
