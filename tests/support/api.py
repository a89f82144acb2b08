"""The API, as a client without a vendor's library would use it: tokens or signatures over plain HTTP."""

import itertools
import json

import requests

from .deadline import wait_until
from .signing import sign

BUILT_IN_IMAGE = "e1a07296-22a8-4f05-8bc8-e936c8e54090"
SMALL = "atelier.cpu.small"
STABLE = {"RUNNING", "STOPPED", "CREATE_FAILED", "START_FAILED", "DELETE_FAILED", "ERROR", "FROZEN"}
GONE = "gone"

_numbers = itertools.count(1)


class RefusedError(AssertionError):
    """The API refused; what a test asked for on purpose is looked at by its fields."""

    def __init__(self, response):
        self.status = response.status_code
        try:
            body = response.json()
        except ValueError:
            body = {}
        self.code = body.get("error_code")
        super().__init__(f"{response.request.method} {response.url}: {response.status_code} {response.text[:300]}")

# One for all notebooks of a user in a workspace.
SHARED_VOLUME = {"category": "EFS", "ownership": "MANAGED"}
SHARE_ID = "0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a10"


def dedicated(uri):
    """What asks for a notebook on a folder of the operator's."""
    volume = {"category": "EFS", "ownership": "DEDICATED", "uri": uri, "id": SHARE_ID}
    return {"volume": volume, "pool_id": "team-a"}


class Api:
    """The ten operations on notebooks, as one caller."""

    def __init__(self, server):
        self.server = server
        self.admin = server.admin()
        self.project = self.admin["project_id"]
        self.http = requests.Session()
        self.http.verify = server.trusted
        self.http.trust_env = False  # no proxy of the host between a test and its server
        self._token = None

    def hang_up(self):
        """Lets go of the connections that are kept. After a long silence the server closes them, perhaps at the moment
        in which a request arrives by one; a client that was silent so long opens a new one."""
        self.http.close()

    def token(self):
        """A project-scoped token of the operator, asked for once per run of the server."""
        if self._token is None:
            self._token = self.new_token()
        return self._token

    def new_token(self, password=None, scope=None):
        """A fresh token by name and password."""
        admin = self.admin
        body = {
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {
                        "user": {
                            "name": admin["user_name"],
                            "password": password or admin["password"],
                            "domain": {"name": admin["domain_name"]},
                        }
                    },
                },
                "scope": scope or {"project": {"name": admin["project_name"]}},
            }
        }
        answer = self.http.post(f"{self.server.url}/v3/auth/tokens", json=body, timeout=30)
        if answer.status_code != 201:
            raise RefusedError(answer)
        return answer.headers["X-Subject-Token"]

    def call(self, method, path, body=None, query=None, headers=None):
        """One call with the token; the answer's body, or `RefusedError`."""
        url = f"{self.server.url}/v1/{self.project}{path}"
        answer = self.http.request(
            method,
            url,
            json=body,
            params=query,
            headers={"X-Auth-Token": self.token(), **(headers or {})},
            timeout=30,
        )
        assert "X-Request-Id" in answer.headers, f"{method} {path}: no X-Request-Id"
        if not answer.ok:
            raise RefusedError(answer)
        return answer.json() if answer.content else None

    def signed(self, method, path, body=None):
        """One call with a signature instead; the bare response."""
        url = f"{self.server.url}{path}"
        data = json.dumps(body).encode() if body is not None else b""
        headers = {"X-Project-Id": self.project, "Content-Type": "application/json"}
        headers = sign(method, url, self.admin["access_key"], self.admin["secret_key"], headers, data)
        return self.http.request(method, url, data=data, headers=headers, timeout=30)

    def create(self, name=None, **fields):
        """Asks for a notebook; the answer as it comes, still CREATING."""
        body = {
            "name": name or f"test-{next(_numbers)}",
            "flavor": SMALL,
            "image_id": BUILT_IN_IMAGE,
            "volume": {"category": "EVS", "ownership": "MANAGED", "capacity": 5},
            "duration": -1,
        }
        return self.call("POST", "/notebooks", {**body, **fields})

    def show(self, notebook):
        """The notebook as it is now."""
        return self.call("GET", f"/notebooks/{notebook}")

    def list(self):
        """All of the caller's notebooks."""
        return self.call("GET", "/notebooks", query={"limit": 1000})["data"]

    def start(self, notebook, duration=-1):
        """Asks for a start."""
        return self.call("POST", f"/notebooks/{notebook}/start", query={"duration": duration})

    def stop(self, notebook):
        """Asks for a stop."""
        return self.call("POST", f"/notebooks/{notebook}/stop")

    def delete(self, notebook):
        """Asks for deletion."""
        return self.call("DELETE", f"/notebooks/{notebook}")

    def lease(self, notebook):
        """The lease as it is now."""
        return self.call("GET", f"/notebooks/{notebook}/lease")

    def renew(self, notebook, duration, kind="timing"):
        """Grants the lease anew from now on."""
        return self.call("PATCH", f"/notebooks/{notebook}/lease", {"duration": duration, "type": kind})

    def own(self, path, method="GET", body=None):
        """One call of what only Atelier has, with the token."""
        url = f"{self.server.url}/atelier/v1/{self.project}{path}"
        answer = self.http.request(method, url, json=body, headers={"X-Auth-Token": self.token()}, timeout=60)
        if not answer.ok:
            raise RefusedError(answer)
        return answer.json() if answer.content else None

    def events(self, notebook, what=None):
        """The words of the notebook's history, oldest first; with `what` the sentences of those events."""
        told = self.own(f"/notebooks/{notebook}/events")["events"]
        return [e["what"] if what is None else e["why"] for e in told if what in (None, e["what"])]

    def status(self, notebook):
        """The status, or `GONE` for one that is answered with 404."""
        try:
            return self.show(notebook)["status"]
        except RefusedError as refused:
            if refused.status == 404:
                return GONE
            raise

    def wait_for(self, notebook, *statuses, seconds=120.0):
        """Polls until the notebook is in one of the statuses. Another stable status ends the wait at once: the
        answer to the request already showed a transitional one, and a stable one does not change by itself."""

        def arrived():
            status = self.status(notebook)
            if status in statuses:
                return status
            if status in STABLE | {GONE}:
                shown = {} if status == GONE else self.show(notebook)
                raise StrandedError(f"{notebook} is {status}, not {statuses}: {shown.get('fail_reason')}")
            return None

        return wait_until(arrived, f"notebook {notebook} becomes {' or '.join(statuses)}", seconds)

    def wait_until_stable(self, notebook, seconds=120.0):
        """Polls until the notebook rests, and returns where."""
        return wait_until(
            lambda: (status := self.status(notebook)) in STABLE | {GONE} and status, f"{notebook} rests", seconds
        )

    def create_running(self, name=None, seconds=240.0, **fields):
        """A notebook that serves; the first one on a machine waits for the image to be built."""
        return self.wait_for_running(self.create(name, **fields)["id"], seconds)

    def wait_for_running(self, notebook, seconds=240.0):
        """The notebook that was asked for, when it serves."""
        self.wait_for(notebook, "RUNNING", seconds=seconds)
        return self.show(notebook)

    def remove(self, notebook, seconds=60.0):
        """Deletes a notebook in whatever state it is, and waits until it is gone."""
        try:
            self.delete(notebook)
        except RefusedError as refused:
            if refused.status != 404:
                raise
        self.wait_for(notebook, GONE, seconds=seconds)


class StrandedError(Exception):
    """A notebook rests where nobody wanted it. Not an `AssertionError`: waiting longer cannot help."""
