"""What a notebook puts in the place of its own server, for the machine's side to meet it there."""

import contextlib
import secrets
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import websocket
from support.stage import UnixService

pytestmark = pytest.mark.local

SOCKET = "/run/atelier/nb/server.sock"
ANSWER = "HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n{word}"
MUCH = 64 << 20

ENDLESS = """
def answer(connection):
    connection.sendall(b'HTTP/1.1 200 OK\\r\\nX-Much: ')
    while True:
        connection.sendall(b'x' * 65536)
"""

WELCOME = """
def answer(connection):
    connection.recv(65536)
    connection.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\nwelcome')
"""

# Follows one of these.
SERVE = f"""
import os, socket, threading
os.rename({SOCKET!r}, {SOCKET!r} + '.own')
listener = socket.socket(socket.AF_UNIX)
listener.bind({SOCKET!r})
listener.listen()
def serve(listener, answer):
    while True:
        connection, _ = listener.accept()
        try:
            answer(connection)
        except OSError:
            pass
        connection.close()
threading.Thread(target=serve, args=(listener, answer), daemon=True).start()
"""


@pytest.fixture
def restored(kernel):
    """The notebook's own socket is back in its place afterwards."""
    yield
    kernel.run(f"import os\nif os.path.exists({SOCKET!r} + '.own'): os.rename({SOCKET!r} + '.own', {SOCKET!r})")


@contextlib.contextmanager
def control(stage):
    """A connection to whatever is in the socket's place, made without any care."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"/proc/{stage.world.first_process(stage.attacker['id'])}/root{SOCKET}")
        yield connection


def through_the_gateway(stage):
    """How the gateway refuses a request for the attacker's server. An upgrade, because it never takes a connection that
    was made before."""
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        stage.world.notebook(stage.attacker).websocket("/api/events/subscribe", seconds=60)
    return refused.value.status_code, str(refused.value.resp_body)


@pytest.mark.usefixtures("restored")
def test_door_link_to_a_socket_of_the_machine(stage, kernel):
    """A link from where the notebook's socket was to one that only the machine's root reaches."""
    path = Path("/var/tmp") / f"atelier-test-{secrets.token_hex(6)}.sock"
    service = UnixService(ANSWER.format(length=len(stage.word), word=stage.word), str(path))
    try:
        path.chmod(0o600)
        kernel.run(f"import os\nos.rename({SOCKET!r}, {SOCKET!r} + '.own')\nos.symlink({str(path)!r}, {SOCKET!r})")
        with control(stage) as connection:
            assert stage.word in connection.recv(4096).decode(), "the link leads nowhere, so the attempt proves nothing"
        status, text = through_the_gateway(stage)
        assert status >= 500
        assert stage.word not in text
    finally:
        service.close()
        path.unlink()


@pytest.mark.usefixtures("restored")
def test_door_answer_without_end(stage, kernel):
    """A server whose first line never ends, for whoever keeps what it has heard."""
    kernel.run(ENDLESS + SERVE)
    with control(stage) as connection:
        heard = 0
        while heard < MUCH:
            heard += len(connection.recv(1 << 20))
    before = stage.world.server.resident_bytes()
    assert through_the_gateway(stage)[0] >= 500
    assert stage.world.server.resident_bytes() - before < MUCH


@pytest.mark.usefixtures("restored")
def test_door_server_that_lets_everybody_in(stage, kernel):
    """A server that asks nobody for a token, as a changed configuration makes it: the gateway asks all the same."""
    kernel.run(WELCOME + SERVE)
    with control(stage) as connection:
        connection.sendall(b"GET /api/status HTTP/1.0\r\n\r\n")
        assert b"welcome" in connection.recv(4096)
    for token in ({}, {"Authorization": f"token {stage.neighbour['token']}"}):
        answer = stage.world.notebook(stage.attacker).request("GET", "/api/status", token, authorized=False)
        assert answer.status_code in (401, 403)
        assert "welcome" not in answer.text


def test_door_links_in_what_is_copied(stage, kernel, tmp_path):
    """Links in a folder of the notebook's, for whoever copies that folder to write through."""
    machines, home = tmp_path / "machines", tmp_path / "home"
    machines.mkdir()
    kernel.run(
        "import os\nos.makedirs('/home/ma-user/work/trap/in')\nos.chdir('/home/ma-user/work/trap')\n"
        f"os.symlink({str(machines)!r}, 'out')\nos.symlink('../../machines', 'up')\n"
        f"open('in/word', 'w').write({stage.word!r})"
    )

    def copy():
        source = f"{stage.attacker['id']}:trap"
        command = [stage.world.server.binary, "notebook", "cp", "--data-dir", stage.world.server.data_dir, source, home]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    home.mkdir()
    first = copy()
    assert first.returncode == 1 and first.stderr.count("it is a link that leads out") == 2, first.stderr
    assert [each.name for each in (home / "trap").iterdir()] == ["in"]
    # As if the links had come: the control writes through one, a second copy does not.
    shutil.rmtree(home / "trap" / "in")
    (home / "trap" / "in").symlink_to(machines)
    (home / "trap" / "in" / "word").write_text(stage.word)
    assert (machines / "word").read_text() == stage.word, "the control run wrote nothing"
    (machines / "word").unlink()
    second = copy()
    assert second.returncode == 1 and "links are not followed" in second.stderr, second.stderr
    assert list(machines.iterdir()) == []
    kernel.run("import shutil, os\nos.chdir('/')\nshutil.rmtree('/home/ma-user/work/trap')")
