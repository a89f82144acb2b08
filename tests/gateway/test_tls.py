"""TLS as clients meet it, ended by a real proxy or by the server itself.

The proxy is nginx with the configuration of docs/tls.md, taken from that page: what is written there is what was tried.
Its clients come from 127.0.0.2 and the like, so that a client's address is not the proxy's.
"""

import json
import re
import signal
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
import requests
import websocket
from requests.adapters import HTTPAdapter
from support.api import Api
from support.deadline import wait_until
from support.notebook import HOST, PATH, Notebook
from support.server import REPOSITORY, free_port
from support.world import World

FORGED = "203.0.113.9"
AROUND = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {site}
}}
"""


class Authority:
    """A CA of a test's own, and certificates of it for this machine."""

    def __init__(self, folder):
        self.folder = folder
        self.root = folder / "root.pem"
        extensions = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"]
        self._openssl("-keyout", "root.key", "-out", self.root, "-subj", "/CN=a test", *extensions)

    def sign(self, name):
        """A new certificate with its key, as two files."""
        pair = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        names = "subjectAltName=DNS:localhost,DNS:*.localhost,IP:127.0.0.1"
        by_root = ["-CA", self.root, "-CAkey", "root.key", "-addext", names, "-addext", "basicConstraints=CA:FALSE"]
        self._openssl("-keyout", pair[1], "-out", pair[0], "-subj", f"/CN={name}", *by_root)
        return pair

    def _openssl(self, *arguments):
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        subprocess.run(["openssl", "req", "-x509", *key, *arguments], cwd=self.folder, check=True, capture_output=True)


class Nginx:
    """nginx before a server. To clients it looks like the server itself."""

    scheme = "https"

    def __init__(self, server, port, authority):
        self.server, self.port, self.folder = server, port, authority.folder
        self.trusted = authority.root
        certificate, key = authority.sign("nginx")
        site = documented()
        for before, after in [
            (r"listen 443 ssl http2;", f"listen 127.0.0.1:{port} ssl http2;"),
            (r"server_name [^;]*;", "server_name localhost *.localhost;"),
            (r"ssl_certificate  [^;]*;", f"ssl_certificate {certificate};"),
            (r"ssl_certificate_key [^;]*;", f"ssl_certificate_key {key};"),
            (r"http://127.0.0.1:8080;", f"http://127.0.0.1:{server.port};"),
        ]:
            site, found = re.subn(before, after, site)
            assert found == 1, f"docs/tls.md: `{before}` is there {found} times"
        configuration = self.folder / "nginx.conf"
        configuration.write_text(AROUND.format(folder=self.folder, site=site), encoding="utf-8")
        self.process = subprocess.Popen(["nginx", "-p", self.folder, "-c", configuration], start_new_session=True)
        wait_until(self._accepts, "nginx accepts", 20, 0.02)

    def _accepts(self):
        assert self.process.poll() is None, "nginx ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def url(self):
        """The address that people know."""
        return f"https://{self.authority}"

    @property
    def authority(self):
        """Host and port of it."""
        return f"localhost:{self.port}"

    def admin(self):
        """What the operator of the server knows."""
        return self.server.admin()

    def close(self):
        """Ends it, with its workers."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)


class From(HTTPAdapter):
    """Connects from another address of this machine."""

    def __init__(self, address):
        self.address = address
        super().__init__()

    def init_poolmanager(self, *arguments, **options):
        super().init_poolmanager(*arguments, source_address=(self.address, 0), **options)


def documented():
    """The configuration of nginx that docs/tls.md shows."""
    page = (REPOSITORY / "docs" / "tls.md").read_text(encoding="utf-8")
    return re.search(r"```nginx\n(.*?)```", page, re.DOTALL)[1]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """Who vouches for everybody here."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def world():
    """A server that is told its outer address and the one proxy to believe."""
    port = free_port()
    environment = {
        "ATELIER_SERVER__PUBLIC_URL": f"https://localhost:{port}",
        "ATELIER_SERVER__TRUSTED_PROXIES": "127.0.0.1",
    }
    with World("local", environment=environment) as world:
        world.outer_port = port
        yield world


@pytest.fixture(scope="module")
def nginx(world, authority):
    """The proxy before it."""
    nginx = Nginx(world.server, world.outer_port, authority)
    try:
        yield nginx
    finally:
        nginx.close()


@pytest.fixture(scope="module")
def shown(world):
    """A notebook that runs through all of this, also through the server's restart."""
    return world.api.create_running("behind")


def client(server, address, forged=None):
    """Somebody at another address, who claims yet another."""
    api = Api(server)
    for scheme in ("http://", "https://"):
        api.http.mount(scheme, From(address))
    if forged:
        api.http.headers["X-Forwarded-For"] = forged
    return api


def address_of(api, notebook, operation):
    """The address that the audit has for the newest such call on the notebook."""
    records = api.own(f"/audit?notebook={notebook}&limit=20")["records"]
    return next(record["address"] for record in records if record["operation"] == operation)


@pytest.mark.local
def test_clients_of_a_trusted_proxy_are_told_apart(world, nginx, shown):
    outer = client(nginx, "127.0.0.2", FORGED)
    assert shown["url"].startswith(f"https://{shown['id']}.localhost:{nginx.port}/"), shown["url"]
    outer.renew(shown["id"], 7_200_000)
    assert address_of(world.api, shown["id"], "RenewLease") == "127.0.0.2"
    answer = outer.http.get(f"{nginx.url}/readyz", timeout=30)
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-Id"]), "it is nginx's own"


@pytest.mark.local
def test_who_is_no_trusted_proxy_is_not_believed(world, shown):
    direct = client(world.server, "127.0.0.3", FORGED)
    direct.renew(shown["id"], 7_200_000)
    assert address_of(world.api, shown["id"], "RenewLease") == "127.0.0.3"
    forged = {"Host": "inner.example", "X-Forwarded-Host": world.server.authority, "X-Request-Id": "given-by-nobody"}
    answer = direct.http.get(f"{world.server.url}/readyz", headers=forged, timeout=30)
    assert answer.status_code == 421
    assert answer.headers["X-Request-Id"] != "given-by-nobody"


@pytest.mark.local
@pytest.mark.parametrize("form", [HOST, PATH])
def test_pages_and_kernels_are_reached_through_the_proxy(nginx, shown, form):
    notebook = Notebook(nginx, shown, form)
    page = notebook.request("GET", "/lab")
    assert page.status_code == 200 and "jupyter-config-data" in page.text
    assert notebook.request("GET", "/lab", authorized=False).status_code == 401
    kernel = notebook.start_kernel()
    assert kernel.value("6 * 7") == 42
    kernel.close()
    upload = {"type": "file", "format": "text", "content": "ü" * 3_000_000}
    assert notebook.request("PUT", "/api/contents/large.txt", json=upload).status_code in (200, 201)


def handshake(server, root, protocols=("http/1.1",)):
    """What the server shows and agrees to: its certificate as bytes, and the protocol."""
    context = ssl.create_default_context(cafile=root)
    context.set_alpn_protocols(list(protocols))
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as secure:
            return secure.getpeercert(binary_form=True), secure.selected_alpn_protocol()


@pytest.fixture(scope="module")
def secure(world, authority, shown, nginx):
    """The same server, started again with a certificate of its own; the files that it reads."""
    folder = Path(authority.folder)
    files = folder / "shown.pem", folder / "shown.key"
    put(authority.sign("first"), files)
    world.server.trusted = authority.root
    world.restart(
        {
            "ATELIER_SERVER__PUBLIC_URL": f"https://localhost:{world.server.port}",
            "ATELIER_TLS__CERTIFICATE": str(files[0]),
            "ATELIER_TLS__KEY": str(files[1]),
        }
    )
    return files


def put(pair, files):
    """Puts a certificate and its key where the server looks."""
    for made, file in zip(pair, files, strict=True):
        file.write_bytes(made.read_bytes())


@pytest.mark.local
def test_http_2_is_spoken_with_whoever_asks_for_it(world, secure, authority):
    assert world.server.scheme == "https"
    assert handshake(world.server, authority.root, ("h2", "http/1.1"))[1] == "h2"
    assert handshake(world.server, authority.root)[1] == "http/1.1"
    for flag, version in [("--http2", "2"), ("--http1.1", "1.1")]:
        line = ["curl", "-q", "-sS", "--noproxy", "*", "--cacert", authority.root, flag]
        line += ["-H", f"X-Auth-Token: {world.api.token()}", "-w", "\n%{http_version} %{http_code}"]
        url = f"https://localhost:{world.server.port}/v1/{world.api.project}/notebooks"
        said = subprocess.run([*line, url], capture_output=True, check=True, timeout=30).stdout.decode()
        body, _, versions = said.rpartition("\n")
        assert versions == f"{version} 200"
        assert json.loads(body)["total"] == 1


@pytest.mark.local
def test_who_does_not_know_the_root_is_not_served(world, secure, shown, monkeypatch):
    monkeypatch.setattr(world.server, "trusted", "/etc/ssl/certs/ca-certificates.crt")
    stranger = world.notebook(shown)
    with pytest.raises(requests.exceptions.SSLError):
        stranger.request("GET", "/api/status")
    with pytest.raises((ssl.SSLError, websocket.WebSocketException)):
        stranger.websocket("/api/events/subscribe")


@pytest.mark.local
@pytest.mark.parametrize(("form", "told"), [(HOST, True), (PATH, False)])
def test_a_kernel_keeps_its_socket_over_a_new_certificate(world, secure, authority, shown, form, told):
    """Which is shown at once after SIGHUP, or without a word."""
    kernel = world.notebook(shown, form).start_kernel()
    kernel.run("kept = 41")
    before = handshake(world.server, authority.root)[0]
    put(authority.sign(f"renewed-{told}"), secure)
    if told:
        world.server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: handshake(world.server, authority.root)[0] != before, "the new certificate is shown", 20)
    assert kernel.value("kept + 1") == 42, "the socket of before"
    newcomer = world.notebook(shown, form).kernel(kernel.id)
    assert newcomer.value("kept + 2") == 43
    newcomer.close()
    kernel.close()
