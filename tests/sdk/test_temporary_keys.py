"""The vendor's own client with a temporary key: it sends the security token along and signs it, and is refused from the
moment on at which the token that the key was earned with is revoked."""

import huaweicloudsdkmodelarts.v1 as modelarts
import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException


def identity(world, method, path, token, body=None, headers=None):
    """One call of the identity service with a token."""
    headers = {"X-Auth-Token": token, **(headers or {})}
    answer = world.api.http.request(method, f"{world.server.url}{path}", json=body, headers=headers, timeout=30)
    assert answer.ok, answer.text
    return answer


def client_of(world, access, secret, security_token=None):
    """The vendor's client with these credentials."""
    credentials = BasicCredentials(access, secret, world.server.admin()["project_id"])
    if security_token:
        credentials = credentials.with_security_token(security_token)
    return modelarts.ModelArtsClient.new_builder().with_credentials(credentials).with_endpoint(world.server.url).build()


def listed(client):
    """A call that any caller may make."""
    return client.list_notebooks(modelarts.ListNotebooksRequest(limit=10))


def test_a_temporary_key_signs_until_its_token_is_revoked(simulated):
    token = simulated.api.new_token()
    wanted = {"auth": {"identity": {"methods": ["token"], "token": {"id": token, "duration_seconds": 900}}}}
    made = identity(simulated, "POST", "/v3.0/OS-CREDENTIAL/securitytokens", token, wanted)
    key = made.json()["credential"]
    assert made.status_code == 201 and set(key) == {"access", "secret", "securitytoken", "expires_at"}

    client = client_of(simulated, key["access"], key["secret"], key["securitytoken"])
    assert listed(client).total == 0
    with pytest.raises(ClientRequestException) as without:
        listed(client_of(simulated, key["access"], key["secret"]))
    assert (without.value.status_code, without.value.error_code) == (401, "APIG.0301")

    identity(simulated, "DELETE", "/v3/auth/tokens", token, headers={"X-Subject-Token": token})
    with pytest.raises(ClientRequestException) as revoked:
        listed(client)
    assert (revoked.value.status_code, revoked.value.error_code) == (401, "APIG.0301")


def test_a_permanent_key_stops_signing_when_it_is_switched_off(simulated):
    token = simulated.api.new_token()
    keys = "/v3.0/OS-CREDENTIAL/credentials"
    user = simulated.server.admin()["user_id"]
    key = identity(simulated, "POST", keys, token, {"credential": {"user_id": user}}).json()["credential"]
    client = client_of(simulated, key["access"], key["secret"])
    listed(client)
    identity(simulated, "PUT", f"{keys}/{key['access']}", token, {"credential": {"status": "inactive"}})
    with pytest.raises(ClientRequestException) as refused:
        listed(client)
    assert refused.value.status_code == 401
    identity(simulated, "DELETE", f"{keys}/{key['access']}", token)
