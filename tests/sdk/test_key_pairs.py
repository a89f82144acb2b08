"""The vendor's own client of the key pair service: it makes, imports, lists, describes and deletes key pairs, and finds
every field that its models have."""

import huaweicloudsdkkps.v3 as kps
import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException

PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDC0RXO/Rnzc93ztd66oVJH3M0w84rxhm4IMgWQaoveU me@laptop"


@pytest.fixture(scope="module")
def client(simulated):
    """The client, with the operator's access key."""
    admin = simulated.server.admin()
    credentials = BasicCredentials(admin["access_key"], admin["secret_key"], admin["project_id"])
    return kps.KpsClient.new_builder().with_credentials(credentials).with_endpoint(simulated.server.url).build()


def create(client, **wanted):
    """One pair."""
    action = kps.CreateKeypairAction(**wanted)
    body = kps.CreateKeypairRequestBody(keypair=action)
    return client.create_keypair(kps.CreateKeypairRequest(body=body)).keypair


def detail(client, name):
    """What is known of a pair."""
    return client.list_keypair_detail(kps.ListKeypairDetailRequest(keypair_name=name)).keypair


def test_a_pair_is_made_listed_described_and_deleted(client):
    made = create(client, name="laptop", type="ssh")
    assert made.private_key.startswith("-----BEGIN OPENSSH PRIVATE KEY-----") and made.type == "ssh"
    assert create(client, name="own", public_key=PUBLIC).private_key is None

    page = client.list_keypairs(kps.ListKeypairsRequest(limit="1"))
    assert [item.keypair.name for item in page.keypairs] == ["laptop"] and page.page_info.current_count == 1
    rest = client.list_keypairs(kps.ListKeypairsRequest(marker=page.page_info.next_marker))
    assert [item.keypair.name for item in rest.keypairs] == ["own"] and rest.page_info.next_marker is None
    summary = page.keypairs[0].keypair
    missing = [name for name in summary.openapi_types if getattr(summary, name) is None]
    assert not missing

    change = kps.UpdateKeypairDescriptionReq(description="my laptop")
    body = kps.UpdateKeypairDescriptionRequestBody(keypair=change)
    client.update_keypair_description(kps.UpdateKeypairDescriptionRequest(keypair_name="own", body=body))
    shown = detail(client, "own")
    assert (shown.public_key, shown.description, shown.scope) == (PUBLIC, "my laptop", "user")
    # A pair that is there was not deleted; its private half is held by no key service.
    absent = {name for name in shown.openapi_types if getattr(shown, name) is None}
    assert absent == {"delete_time", "key_id"}

    for name in ("laptop", "own"):
        client.delete_keypair(kps.DeleteKeypairRequest(keypair_name=name))
    assert client.list_keypairs(kps.ListKeypairsRequest()).keypairs == []


def test_refusals_carry_their_codes(client):
    for name, code in (("a b", "ModelArts.6334"), ("x" * 256, "ModelArts.6336")):
        with pytest.raises(ClientRequestException) as refused:
            create(client, name=name)
        assert (refused.value.status_code, refused.value.error_code) == (400, code)
    with pytest.raises(ClientRequestException) as missing:
        detail(client, "nobody")
    assert (missing.value.status_code, missing.value.error_code) == (404, "ModelArts.6404")
    assert missing.value.request_id
