"""Clients that are a sequence of requests: one session with a token, and the bare answers."""

import requests

from ..api import Api
from ..deadline import wait_until


class Wire:
    """One caller who holds a token, as programs that speak HTTP themselves do."""

    def __init__(self, world):
        self.server = world.server
        self.admin = world.server.admin()
        self.token = Api(world.server).token()
        self.http = requests.Session()
        self.http.trust_env = False
        self.id = None

    def send(self, method, path, body=None, headers=None, **query):
        """The bare answer. Without a body the request still says that it has JSON, as these clients do."""
        given = {"X-Auth-Token": self.token, "Content-Type": "application/json", **(headers or {})}
        url = f"{self.server.url}/v1/{self.admin['project_id']}{path}"
        return self.http.request(method, url, json=body, params=query, headers=given, timeout=30)

    def ask(self, method, path, body=None, expect=(200, 201), **query):
        """The answer's body, when its code is one that the client takes for success."""
        answer = self.send(method, path, body, **query)
        assert answer.status_code in expect, f"{method} {path}: {answer.status_code} {answer.text[:150]}"
        return answer.json() if answer.content else None

    def poll(self, pending, target, read=None):
        """Polls as the Terraform provider does: a status that is neither awaited nor passed through is a failure."""

        def arrived():
            answer = self.send("GET", f"/notebooks/{self.id}")
            if answer.status_code == 404:
                assert target is None, f"not found while waiting for {target}"
                return {"status": None}
            assert answer.status_code == 200, f"{answer.status_code} {answer.text[:150]}"
            shown = answer.json()
            status = read(shown) if read else shown["status"]
            if status == target:
                return shown
            assert pending is None or status in pending, f"{status} on the way to {target}"
            return None

        return wait_until(arrived, f"{self.id} becomes {target}", 60, 0.05)
