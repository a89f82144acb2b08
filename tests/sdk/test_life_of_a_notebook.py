"""A notebook's whole life, told by the vendor's own client.

The client is the one that users have: its request shapes, its signature and its reading of the answers are its own.
It is told an address and credentials, nothing else.
"""

import os
from pathlib import Path

import huaweicloudsdkmodelarts.v1 as modelarts
import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkcore.region.region import Region
from support.api import BUILT_IN_IMAGE, SMALL
from support.deadline import wait_until
from support.notebook import HOST, PATH

pytestmark = pytest.mark.local

HOUR = 3_600_000
FREE = "modelarts.vm.cpu.free"


def client_with_project(world):
    """A client that is told its project."""
    admin = world.server.admin()
    credentials = BasicCredentials(admin["access_key"], admin["secret_key"], admin["project_id"])
    return modelarts.ModelArtsClient.new_builder().with_credentials(credentials).with_endpoint(world.server.url).build()


def client_with_region(world):
    """A client that is told a region only: it asks the identity service for the project of that name."""
    admin = world.server.admin()
    os.environ["HUAWEICLOUD_SDK_IAM_ENDPOINT"] = world.server.url
    try:
        credentials = BasicCredentials(admin["access_key"], admin["secret_key"])
        region = Region(admin["region"], world.server.url)
        builder = modelarts.ModelArtsClient.new_builder()
        return builder.with_credentials(credentials).with_region(region).build()
    finally:
        del os.environ["HUAWEICLOUD_SDK_IAM_ENDPOINT"]


def wait_for(client, notebook, status, seconds=240):
    """Polls as a user's script would; a failed status ends the wait."""

    def arrived():
        shown = client.show_notebook(modelarts.ShowNotebookRequest(id=notebook))
        if shown.status.endswith("FAILED") or shown.status == "ERROR":
            raise RuntimeError(f"{notebook} is {shown.status}: {shown.fail_reason}")
        return shown if shown.status == status else None

    return wait_until(arrived, f"{notebook} becomes {status}", seconds, 0.2)


def create(client, name):
    """What the vendor's examples send, with a size that fits everywhere."""
    volume = modelarts.VolumeMountRequest(category="EVS", ownership="MANAGED", capacity=5)
    body = modelarts.NotebookCreateRequest(
        name=name,
        description="made by the SDK",
        feature="NOTEBOOK",
        flavor=SMALL,
        image_id=BUILT_IN_IMAGE,
        volume=volume,
        workspace_id="0",
        duration=HOUR,
    )
    return client.create_notebook(modelarts.CreateNotebookRequest(body=body))


@pytest.mark.parametrize(
    ("login", "form"), [(client_with_project, PATH), (client_with_region, HOST)], ids=["project-path", "region-host"]
)
def test_from_create_to_gone(local, login, form):
    client = login(local)
    made = create(client, f"by-sdk-{form}")
    assert made.status == "CREATING"
    assert [step.step for step in made.action_progress] == [1, 2, 3, 4]
    notebook = made.id

    running = wait_for(client, notebook, "RUNNING")
    assert running.token
    assert running.url.endswith("/lab")
    assert not running.action_progress
    assert [endpoint.service for endpoint in running.endpoints] == ["NOTEBOOK"]
    assert running.endpoints[0].uri == running.url
    assert running.volume.mount_path == "/home/ma-user/work/"
    assert running.lease.enable is True
    assert running.lease.type == "TIMING"

    def way(shown):
        return local.notebook({"id": shown.id, "token": shown.token}, form)

    first = way(running)
    kernel = first.start_kernel()
    assert kernel.run("print(6 * 7)") == "42\n"
    kernel.run("open('/home/ma-user/work/kept.txt', 'w').write('from the first life'); remembered = 1")
    assert kernel.value("remembered") == 1
    kernel.close()

    before = client.show_lease(modelarts.ShowLeaseRequest(id=notebook))
    renewed = client.renew_lease(
        modelarts.RenewLeaseRequest(id=notebook, body=modelarts.LeaseReq(duration=2 * HOUR, type="timing"))
    )
    assert renewed.create_at == before.create_at
    assert renewed.duration == renewed.update_at - renewed.create_at + 2 * HOUR
    assert client.show_lease(modelarts.ShowLeaseRequest(id=notebook)).duration == renewed.duration

    stopping = client.stop_notebook(modelarts.StopNotebookRequest(id=notebook))
    assert stopping.status == "STOPPING"
    wait_for(client, notebook, "STOPPED")

    starting = client.start_notebook(modelarts.StartNotebookRequest(id=notebook, duration=HOUR))
    assert starting.status == "STARTING"
    again = wait_for(client, notebook, "RUNNING")
    assert again.token != running.token
    assert first.request("GET", "/api/status").status_code == 403, "the token of the former life still opens"

    second = way(again)
    kernel = second.start_kernel()
    assert kernel.run("print(open('/home/ma-user/work/kept.txt').read(), 'remembered' in globals())") == (
        "from the first life False\n"
    )
    kernel.close()

    deleting = client.delete_notebook(modelarts.DeleteNotebookRequest(id=notebook))
    assert deleting.status == "DELETING"
    assert refusal_when_gone(client, notebook) == (404, "ModelArts.6404")


def refusal_when_gone(client, notebook):
    """Polls a deleted notebook until the client raises, and returns what it raised with."""

    def gone():
        try:
            shown = client.show_notebook(modelarts.ShowNotebookRequest(id=notebook))
        except ClientRequestException as refused:
            return refused.status_code, refused.error_code
        assert shown.status == "DELETING", f"{notebook} is {shown.status} although it was deleted"
        return None

    return wait_until(gone, f"{notebook} is gone", 60)


def test_lists_and_flavors_are_read_by_the_client(local):
    client = client_with_project(local)
    notebook = create(client, "listed-by-sdk").id
    listed = client.list_notebooks(modelarts.ListNotebooksRequest(name="listed-by", limit=10, offset=0))
    assert [item.id for item in listed.data] == [notebook]
    assert (listed.current, listed.total) == (0, 1)
    flavors = {flavor.id: flavor for flavor in client.list_flavors(modelarts.ListFlavorsRequest()).flavors}
    assert flavors["modelarts.vm.cpu.2u"].vcpus == 2
    assert flavors["modelarts.vm.cpu.2u"].memory == 8 << 20
    assert SMALL in flavors
    images = client.list_image(modelarts.ListImageRequest(limit=10, offset=0)).data
    assert BUILT_IN_IMAGE in [image.id for image in images]
    client.delete_notebook(modelarts.DeleteNotebookRequest(id=notebook))
    refusal_when_gone(client, notebook)


def takes_a_gibibyte(kernel):
    """Whether a program inside the notebook may fill 1 GiB of memory, or is killed for it."""
    ended = kernel.value("__import__('subprocess').run(['python3', '-c', 'b\"x\" * (1 << 30)']).returncode")
    assert ended in (0, -9), ended
    return ended == 0


def memory_limits(world):
    """The limits that the kernel of the machine holds the server's notebooks to, in either version of cgroups."""
    folders = [Path(folder) for folder in world.leftovers.cgroups_of_server()]
    files = [folder / name for folder in folders for name in ("memory.max", "memory.limit_in_bytes")]
    return {file.read_text().strip() for file in files if file.exists()}


def test_a_changed_flavor_is_what_the_next_start_has(local):
    """Changed while it is stopped, and there after the start: felt inside by a program, and seen in the cgroup."""
    client = client_with_project(local)
    notebook = create(client, "changed-by-sdk").id

    def update(**fields):
        body = modelarts.NotebookUpdateRequest(**fields)
        return client.update_notebook(modelarts.UpdateNotebookRequest(id=notebook, body=body))

    running = wait_for(client, notebook, "RUNNING")
    kernel = local.notebook({"id": notebook, "token": running.token}, PATH).start_kernel()
    assert not takes_a_gibibyte(kernel)
    assert str(512 << 20) in memory_limits(local)
    kernel.run("open('/home/ma-user/work/kept.txt', 'w').write('still here')")
    kernel.close()

    renamed = update(name="renamed-by-sdk", description="", flavor=SMALL, image_id=BUILT_IN_IMAGE, storage_new_size=5)
    assert (renamed.name, renamed.description, renamed.status) == ("renamed-by-sdk", "", "RUNNING")
    assert renamed.lease.enable is True
    with pytest.raises(ClientRequestException) as refused:
        update(flavor=FREE)
    assert (refused.value.status_code, refused.value.error_code) == (400, "ModelArts.6347")

    client.stop_notebook(modelarts.StopNotebookRequest(id=notebook))
    wait_for(client, notebook, "STOPPED")
    switchable = client.show_switchable_flavors(modelarts.ShowSwitchableFlavorsRequest(id=notebook)).flavors
    assert FREE in [flavor.id for flavor in switchable]
    assert SMALL not in [flavor.id for flavor in switchable]
    assert update(flavor=FREE, image_id=BUILT_IN_IMAGE).flavor == FREE
    client.start_notebook(modelarts.StartNotebookRequest(id=notebook))
    again = wait_for(client, notebook, "RUNNING")
    kernel = local.notebook({"id": notebook, "token": again.token}, PATH).start_kernel()
    assert takes_a_gibibyte(kernel)
    assert str(4 << 30) in memory_limits(local)
    assert kernel.run("print(open('/home/ma-user/work/kept.txt').read())") == "still here\n"
    kernel.close()
    client.delete_notebook(modelarts.DeleteNotebookRequest(id=notebook))
    refusal_when_gone(client, notebook)


def test_tags_are_hung_and_taken_off_by_the_client(local):
    client = client_with_project(local)
    notebook = create(client, "tagged-by-sdk").id

    def tags(**values):
        return [modelarts.TmsTag(key=key, value=value) for key, value in values.items()]

    body = modelarts.CreateTmsTagsRequest(tags=tags(team="vision", owner="ada"))
    made = client.create_notebook_tags(modelarts.CreateNotebookTagsRequest(resource_id=notebook, body=body))
    assert made.status_code == 204
    shown = client.show_notebook(modelarts.ShowNotebookRequest(id=notebook))
    assert {tag.key: tag.value for tag in shown.tags} == {"team": "vision", "owner": "ada"}
    used = client.show_notebook_tags(modelarts.ShowNotebookTagsRequest())
    assert {tag.key: tag.values for tag in used.tags} == {"team": ["vision"], "owner": ["ada"]}
    body = modelarts.DeleteTmsTagsRequest(tags=tags(owner="ada"))
    gone = client.delete_notebook_tags(modelarts.DeleteNotebookTagsRequest(resource_id=notebook, body=body))
    assert gone.status_code == 204
    everybodys = client.list_all_notebooks(modelarts.ListAllNotebooksRequest(name="tagged-by", limit=10)).data
    assert [{tag.key: tag.value for tag in item.tags} for item in everybodys] == [{"team": "vision"}]
    client.delete_notebook(modelarts.DeleteNotebookRequest(id=notebook))
    refusal_when_gone(client, notebook)


def test_a_wrong_secret_is_refused_as_the_client_expects(local):
    admin = local.server.admin()
    credentials = BasicCredentials(admin["access_key"], "0" * 40, admin["project_id"])
    builder = modelarts.ModelArtsClient.new_builder().with_credentials(credentials)
    client = builder.with_endpoint(local.server.url).build()
    with pytest.raises(ClientRequestException) as refused:
        client.list_notebooks(modelarts.ListNotebooksRequest())
    assert refused.value.status_code == 401
    assert refused.value.error_code == "APIG.0301"
    assert refused.value.request_id


def test_the_identity_service_answers_the_lookup_by_region(local):
    """The one call that the client makes by itself."""
    client = client_with_region(local)
    assert client.get_credentials().project_id == local.server.admin()["project_id"]
