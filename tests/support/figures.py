"""The server's own figures, as it tells them at `/metrics`."""


def figure(world, what):
    """One of them, by the beginning of its line; None when there is no such line."""
    text = world.api.http.get(f"{world.server.url}/metrics", headers={"X-Auth-Token": world.api.token()}, timeout=30).text
    return next((int(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(what)), None)
