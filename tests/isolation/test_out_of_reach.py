"""What a notebook's code must not reach.

An attempt is a short program and what it would bring home. It runs twice: as root on the machine itself, outside of
any container, where it *must* succeed, and in a cell, where it must not. Without the first run the second one proves
nothing: a wrong path is out of reach, too.

The network is tried against a pretended outside in a network namespace of the test's own, so that the test needs no
real one: what the notebook may reach there (the positive case) and what it may not stand side by side.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from support.notebook import Notebook
from support.stage import NEIGHBOUR_SOCKET, Stage

pytestmark = pytest.mark.local

READ = "brought = open({path!r}, 'rb').read().decode(errors='replace')"

READ_DIGEST = """
import hashlib
brought = hashlib.sha256(open({path!r}, 'rb').read()).hexdigest()
"""

SEARCH_COMMAND_LINES = """
import glob
brought = ''
for name in glob.glob('/proc/[0-9]*/cmdline'):
    try:
        text = open(name).read()
    except OSError:
        continue
    # The searching process may carry the word in its own command line.
    if {word!r} in text and 'brought' not in text:
        brought += text
"""

SEARCH_BELOW_PROCESSES = """
import glob
brought = ''
for root in glob.glob('/proc/[0-9]*/root'):
    try:
        brought += open(root + {path!r}).read()
    except OSError:
        continue
"""

SIGNAL = """
import os, signal
os.kill({pid}, signal.SIGCONT)
brought = 'sent'
"""

HTTP = """
import urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({{}}))
brought = opener.open({url!r}, timeout=3).read().decode()
"""

UNIX = """
import socket
with socket.socket(socket.AF_UNIX) as to:
    to.settimeout(3)
    to.connect({address!r})
    # Whoever only speaks may have hung up already.
    if {question!r}:
        to.sendall({question!r})
    brought = to.recv(4096).decode(errors='replace')
"""

SEARCH_SOCKETS_BELOW_PROCESSES = """
import glob, socket
brought = ''
for path in glob.glob('/proc/[0-9]*/root' + {path!r}):
    try:
        with socket.socket(socket.AF_UNIX) as to:
            to.settimeout(3)
            to.connect(path)
            brought += to.recv(4096).decode(errors='replace')
    except OSError:
        continue
"""

OPEN_DEVICE = """
with open({path!r}, 'rb') as device:
    brought = device.read(4).decode(errors='replace')
"""


def on_the_machine(program, *through):
    """Runs an attempt as root, outside of any container; what it brought."""
    command = [*through, sys.executable, "-c", f"{program}\nprint(brought)"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout if done.returncode == 0 else f"failed: {done.stderr[-400:]}"


def in_the_cell(kernel, program):
    """Runs an attempt in a notebook; what it brought, or how it failed."""
    indented = "\n".join(f"    {line}" for line in program.strip().splitlines())
    return kernel.run(
        f"brought = ''\ntry:\n{indented}\n    print(brought)\n"
        "except Exception as refused:\n    print('failed:', type(refused).__name__, refused)"
    )


@pytest.fixture(scope="module")
def stage(local):
    """Two notebooks and everything around them that one of them must not reach."""
    with Stage(local) as ready:
        yield ready


@pytest.fixture(scope="module")
def kernel(stage):
    """A kernel of the notebook that attacks."""
    kernel = Notebook(stage.world.server, stage.attacker).start_kernel()
    yield kernel
    kernel.close()


def admin_file(stage):
    path = stage.world.server.data_dir / "admin.json"
    return READ.format(path=str(path)), stage.world.server.admin()["secret_key"]


def master_key(stage):
    path = stage.world.server.data_dir / "master.key"
    return READ_DIGEST.format(path=str(path)), hashlib.sha256(path.read_bytes()).hexdigest()


def open_file_of_the_machine(stage):
    return READ.format(path=str(stage.open_file)), stage.word


def passwords_of_the_machine(_stage):
    shadow = Path("/etc/shadow")
    return READ_DIGEST.format(path=str(shadow)), hashlib.sha256(shadow.read_bytes()).hexdigest()


def file_below_a_process(stage):
    return SEARCH_BELOW_PROCESSES.format(path=str(stage.open_file)), stage.word


def processes_of_the_machine(stage):
    return SEARCH_COMMAND_LINES.format(word=stage.process_word), stage.process_word


def command_line_of_the_server(stage):
    program = READ.format(path=f"/proc/{stage.world.server.pid}/cmdline")
    return program, str(stage.world.server.data_dir)


def service_on_the_loopback(stage):
    return HTTP.format(url=stage.loopback.url), stage.word


def service_on_the_loopback_of_ipv6(stage):
    return HTTP.format(url=stage.loopback6.url), stage.word


def service_on_the_machines_address(stage):
    return HTTP.format(url=stage.addressed.url), stage.word


def service_on_every_address(stage):
    return HTTP.format(url=stage.everywhere.url), stage.word


def the_api_itself(stage):
    return HTTP.format(url=f"{stage.world.server.url}/openapi.json"), "openapi"


def link_local_address(stage):
    return HTTP.format(url=stage.link_local.url), stage.word


def abstract_socket(stage):
    return UNIX.format(address=stage.abstract.address, question=b""), stage.word


def neighbours_file(stage):
    return SEARCH_BELOW_PROCESSES.format(path="/home/ma-user/work/secret.txt"), stage.neighbour_word


def neighbours_process(stage):
    return SEARCH_COMMAND_LINES.format(word=stage.neighbour_process_word), stage.neighbour_process_word


def neighbours_service(stage):
    # The machine itself gets no answer either: what a notebook sends to an address of the machine is dropped. So the
    # control stands in the neighbour's network, with root's rights.
    through = ["nsenter", f"--net=/proc/{stage.neighbour_pid()}/ns/net"]
    return HTTP.format(url=stage.neighbour_url), stage.neighbour_word, *through


def neighbours_socket(stage):
    return SEARCH_SOCKETS_BELOW_PROCESSES.format(path=NEIGHBOUR_SOCKET), stage.neighbour_word


def neighbours_first_process(stage):
    question = b'{"version": 1, "command": "status"}\n'
    return UNIX.format(address=stage.neighbour_init_socket(), question=question), '"version"'


def neighbours_volume(stage):
    volume = stage.world.server.data_dir / "notebooks" / stage.neighbour["id"] / "volume.img"
    return OPEN_DEVICE.format(path=str(volume)), "XFSB"


def neighbours_loop_device(stage):
    return OPEN_DEVICE.format(path=stage.neighbour_device()), "XFSB"


ATTEMPTS = [
    admin_file,
    master_key,
    open_file_of_the_machine,
    passwords_of_the_machine,
    file_below_a_process,
    processes_of_the_machine,
    command_line_of_the_server,
    service_on_the_loopback,
    service_on_the_loopback_of_ipv6,
    service_on_the_machines_address,
    service_on_every_address,
    the_api_itself,
    link_local_address,
    abstract_socket,
    neighbours_file,
    neighbours_process,
    neighbours_service,
    neighbours_socket,
    neighbours_first_process,
    neighbours_volume,
    neighbours_loop_device,
]


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.__name__)
def test_is_out_of_reach(stage, kernel, attempt):
    program, prize, *through = attempt(stage)
    control = on_the_machine(program, *through)
    assert prize in control, f"the control run brought nothing, so the attempt proves nothing: {control[-400:]}"
    brought = in_the_cell(kernel, program)
    assert prize not in brought, f"within reach of a cell: {attempt.__name__}"


def test_signals_do_not_arrive(stage, kernel):
    program = SIGNAL.format(pid=stage.process.pid)
    on_the_machine(program)
    arrived = stage.wait_for_signals(1)
    in_the_cell(kernel, program)
    # A process that reads its own count answers after every signal that was sent before the question.
    assert stage.signals() == arrived, "a signal from a cell arrived at a process of the machine"


def test_attempts_are_able_to_succeed_in_a_cell(stage, kernel):
    """The same programs bring what a notebook may have: else "out of reach" could mean that cells can do nothing."""
    kernel.run(f"open('/home/ma-user/work/own.txt', 'w').write({stage.word!r})")
    assert stage.word in in_the_cell(kernel, READ.format(path="/home/ma-user/work/own.txt"))
    kernel.run(f"import subprocess, sys; own = subprocess.Popen(['sleep', '1000{stage.digits}'])")
    assert stage.digits in in_the_cell(kernel, SEARCH_COMMAND_LINES.format(word=stage.digits))
    kernel.run("own.kill(); own.wait()")


def test_the_outside_is_within_reach(stage, kernel):
    """Beside the closed link-local address stands an open one on the same pretended machine."""
    assert stage.word in in_the_cell(kernel, HTTP.format(url=stage.outside.url))


def test_a_cell_has_no_power(kernel):
    """What the kernel says of the process itself, whatever was tried above."""
    status = dict(line.split(":\t", 1) for line in kernel.run("print(open('/proc/self/status').read())").splitlines() if ":\t" in line)
    assert {status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"
    assert status["Uid"].split() == ["1000"] * 4
