"""Kernels that are forked and kernels that are started do the same: every test runs with either.

What differs is asked first: a forked kernel's parent is the container's own zygote.
"""

import json
import signal

import pytest
from support.deadline import wait_until
from support.notebook import CellError
from support.world import World

pytestmark = pytest.mark.local

TITLE = "kernels are forked from this"
PARENT = "__import__('pathlib').Path(f'/proc/{__import__(\"os\").getppid()}/cmdline').read_text()"


@pytest.fixture(scope="module", params=["forked", "started"])
def way(request):
    """How kernels come to be."""
    return request.param


@pytest.fixture(scope="module")
def notebook(way):
    """A notebook whose kernels come to be in this way."""
    with World("local", environment={"ATELIER_LOCAL__ZYGOTE": "true" if way == "forked" else "false"}) as world:

        def made():
            shown = world.api.create_running()
            if way == "started" or how(world, shown) == "forked":
                return shown
            # The first one does not wait for the zygote.
            world.api.remove(shown["id"])
            return None

        shown = wait_until(made, "a notebook server is forked", 240, 1)
        assert how(world, shown) == way
        yield world.notebook(shown)


def how(world, shown):
    """What the notebook's events say of its start."""
    text = json.dumps(world.api.own(f"/notebooks/{shown['id']}/events"))
    return "forked" if "forked from the zygote" in text else "started" if "by its command line" in text else None


@pytest.fixture
def kernel(notebook, way):
    """A kernel of its own, gone when the test has ended."""
    kernel = notebook.start_kernel()
    assert (TITLE in kernel.value(PARENT)) == (way == "forked")
    yield kernel
    kernel.close()
    notebook.request("DELETE", f"/api/kernels/{kernel.id}")


def test_a_cell_a_shell_command_and_a_second_process(kernel):
    """What nearly every notebook does."""
    assert kernel.run("print(6 * 7)") == "42\n"
    assert kernel.run("!echo $HOME").strip() == "/home/ma-user"
    assert kernel.run("import subprocess; print(subprocess.check_output(['id', '-u'], text=True))").strip() == "1000"
    code = "import multiprocessing as m\nwith m.get_context('fork').Pool(2) as p: print(p.map(abs, [-1, -2]))"
    assert kernel.run(code) == "[1, 2]\n"
    assert kernel.run("import asyncio; await asyncio.sleep(0); print('awaited')") == "awaited\n"


def test_two_kernels_share_nothing_that_is_random(notebook, kernel):
    """A fork copies the state of every generator."""
    other = notebook.start_kernel()
    draw = "[__import__('random').random(), __import__('numpy').random.rand(), __import__('uuid').uuid4().hex]"
    first, second = kernel.value(draw), other.value(draw)
    assert all(a != b for a, b in zip(first, second, strict=True)), (first, second)
    notebook.request("DELETE", f"/api/kernels/{other.id}")


def test_a_plot_is_shown_inline(kernel):
    """Nothing has chosen a backend before the kernel did."""
    assert kernel.value("'matplotlib' in __import__('sys').modules") is False
    kernel.run("%matplotlib inline\nimport matplotlib.pyplot as plt")
    assert "inline" in kernel.value("plt.get_backend()")
    kernel.run("figure = plt.plot([1, 2, 3])")


def test_settings_that_an_import_reads_are_read_by_the_kernels_own_import(kernel):
    """A variable that is set in the first cell counts, because nothing that reads one was imported before."""
    code = "import os; os.environ['OPENBLAS_NUM_THREADS'] = '1'\nimport numpy\nprint(len(os.listdir('/proc/self/task')))"
    before = kernel.value("len(__import__('os').listdir('/proc/self/task'))")
    assert int(kernel.run(code)) == before


def test_input_asks_the_person(kernel):
    """`input()` goes to the browser and back."""
    content = {"code": "print(input('name? '))", "silent": False, "store_history": True, "allow_stdin": True}
    number = kernel._send("execute_request", content)
    printed, done = [], False
    while not done:
        message = json.loads(kernel.socket.recv())
        kind = message["header"]["msg_type"]
        if kind == "input_request":
            assert message["content"]["prompt"] == "name? "
            header = {**message["header"], "msg_id": "reply", "msg_type": "input_reply"}
            reply = {"header": header, "parent_header": message["header"], "metadata": {}, "channel": "stdin"}
            kernel.socket.send(json.dumps({**reply, "content": {"value": "Ada", "status": "ok"}}))
        elif kind == "stream":
            printed.append(message["content"]["text"])
        elif kind == "execute_reply" and message["parent_header"]["msg_id"] == number:
            assert message["content"]["status"] == "ok", message
            done = True
    while "Ada" not in "".join(printed):
        message = json.loads(kernel.socket.recv())
        if message["header"]["msg_type"] == "stream":
            printed.append(message["content"]["text"])


def test_an_interrupt_ends_the_cell_and_not_the_kernel(notebook, kernel):
    """The signal reaches the code."""
    kernel.run("kept = 1")
    number = kernel.begin("print('begun', flush=True)\nwhile True: pass")
    while json.loads(kernel.socket.recv())["header"]["msg_type"] != "stream":
        pass
    assert notebook.request("POST", f"/api/kernels/{kernel.id}/interrupt").status_code == 204
    while True:
        message = json.loads(kernel.socket.recv())
        if message["header"]["msg_type"] == "execute_reply" and message["parent_header"]["msg_id"] == number:
            assert message["content"]["ename"] == "KeyboardInterrupt"
            break
    assert kernel.value("kept") == 1


def test_a_restart_forgets_and_a_shutdown_ends(notebook, kernel, way):
    """The buttons of the user interface."""
    kernel.run("kept = 1")
    before = kernel.value("__import__('os').getpid()")
    assert notebook.request("POST", f"/api/kernels/{kernel.id}/restart").status_code == 200
    again = notebook.kernel(kernel.id)
    with pytest.raises(CellError, match="NameError"):
        again.run("print(kept)")
    assert again.value("__import__('os').getpid()") != before
    assert (TITLE in again.value(PARENT)) == (way == "forked")
    pid = again.value("__import__('os').getpid()")
    again.close()
    assert notebook.request("DELETE", f"/api/kernels/{kernel.id}").status_code == 204
    watcher = notebook.start_kernel()
    wait_until(lambda: watcher.value(f"not __import__('os').path.exists('/proc/{pid}')"), "the kernel is gone", 30)
    notebook.request("DELETE", f"/api/kernels/{watcher.id}")


def test_a_killed_kernel_comes_back_by_itself(notebook, kernel):
    """As after running out of memory."""
    kernel.run("kept = 1")
    kernel.begin(f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})")
    wait_until(lambda: restarted(kernel), "the notebook server says that it restarts the kernel", 30)
    again = notebook.kernel(kernel.id)
    with pytest.raises(CellError, match="NameError"):
        again.run("print(kept)")
    again.close()


def test_memory_that_runs_out_is_taken_from_the_kernel(notebook, kernel, way):
    """A cell that takes all of it ends its kernel; the notebook server is the one that it was."""
    if way == "forked":
        assert kernel.value("int(open('/proc/self/oom_score_adj').read())") == 900
    before = notebook.request("GET", "/api/status").json()["started"]
    kernel.begin("taken = [b'x' * (64 << 20) for _ in range(64)]")
    wait_until(lambda: restarted(kernel), "the notebook server says that it restarts the kernel", 60)
    assert notebook.request("GET", "/api/status").json()["started"] == before
    again = notebook.kernel(kernel.id)
    assert again.run("print(1)") == "1\n"
    again.close()


def restarted(kernel):
    """Whether the next thing that the notebook server says is that the kernel has died and comes back."""
    kernel.socket.settimeout(30)
    message = json.loads(kernel.socket.recv())
    return message.get("content", {}).get("execution_state") in ("restarting", "autorestarting")


def test_a_package_that_was_installed_counts(notebook, way):
    """What is in the zygote's memory may not be what is on disk any more: such a kernel is started."""
    first = notebook.start_kernel()
    site = first.value("__import__('sysconfig').get_path('purelib')")
    first.run(f"open('{site}/customized.pth', 'w').write('import builtins; builtins.customized = True')")
    second = notebook.start_kernel()
    assert second.value("customized") is True
    assert TITLE not in second.value(PARENT)
    for kernel in (first, second):
        notebook.request("DELETE", f"/api/kernels/{kernel.id}")
