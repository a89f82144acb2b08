"""Kernels that are forked and kernels that are started do the same: every test runs with either.

What differs is asked first: a forked kernel's parent is the container's own zygote.
"""

import json
import re
import signal

import pytest
from support.deadline import wait_until
from support.notebook import CellError
from support.world import World

pytestmark = pytest.mark.local


@pytest.fixture(scope="module", params=["forked", "started"])
def way(request):
    """How kernels come to be."""
    return request.param


@pytest.fixture(scope="module")
def world(way):
    """A server of these kernels' own."""
    with World("local", environment={"ATELIER_LOCAL__ZYGOTE": "true" if way == "forked" else "false"}) as world:
        yield world


@pytest.fixture(scope="module")
def notebook(world, way):
    """A notebook whose kernels come to be in this way."""
    shown = world.create_forked() if way == "forked" else world.api.create_running()
    assert world.was_forked(shown["id"]) == (way == "forked")
    return world.notebook(shown)


@pytest.fixture
def kernel(notebook, way):
    """A kernel of its own, gone when the test has ended."""
    with notebook.new_kernel() as kernel:
        assert kernel.was_forked() == (way == "forked")
        yield kernel


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
    draw = "[__import__('random').random(), __import__('numpy').random.rand(), __import__('uuid').uuid4().hex]"
    with notebook.new_kernel() as other:
        first, second = kernel.value(draw), other.value(draw)
    assert all(a != b for a, b in zip(first, second, strict=True)), (first, second)


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
    number = kernel.begin("print(input('name? '))", may_ask=True)
    asked = kernel.receive("input_request")
    assert asked["content"]["prompt"] == "name? "
    kernel.answer(asked, "Ada")
    assert "Ada" in kernel.receive("stream", number)["content"]["text"]


def test_an_interrupt_ends_the_cell_and_not_the_kernel(notebook, kernel):
    """The signal reaches the code."""
    kernel.run("kept = 1")
    number = kernel.begin("print('begun', flush=True)\nwhile True: pass")
    kernel.receive("stream")
    assert notebook.request("POST", f"/api/kernels/{kernel.id}/interrupt").status_code == 204
    assert kernel.receive("execute_reply", number)["content"]["ename"] == "KeyboardInterrupt"
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
    assert again.was_forked() == (way == "forked")
    pid = again.value("__import__('os').getpid()")
    again.close()
    assert notebook.request("DELETE", f"/api/kernels/{kernel.id}").status_code == 204
    with notebook.new_kernel() as watcher:
        wait_until(lambda: watcher.value(f"not __import__('os').path.exists('/proc/{pid}')"), "the kernel is gone", 30)


def test_a_killed_kernel_comes_back_by_itself(notebook, kernel):
    """As after running out of memory."""
    kernel.run("kept = 1")
    kernel.begin(f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})")
    wait_until(lambda: restarted(kernel), "the notebook server says that it restarts the kernel", 30)
    again = notebook.kernel(kernel.id)
    with pytest.raises(CellError, match="NameError"):
        again.run("print(kept)")
    again.close()


def test_memory_that_runs_out_is_taken_from_the_kernel(notebook, kernel):
    """A cell that takes all of it ends its kernel; the notebook server is the one that it was."""
    assert kernel.value("int(open('/proc/self/oom_score_adj').read())") == 900
    before = notebook.request("GET", "/api/status").json()["started"]
    kernel.begin("taken = [b'x' * (64 << 20) for _ in range(64)]")
    wait_until(lambda: restarted(kernel), "the notebook server says that it restarts the kernel", 60)
    assert notebook.request("GET", "/api/status").json()["started"] == before
    again = notebook.kernel(kernel.id)
    assert again.run("print(1)") == "1\n"
    again.close()


LINE = "next(l for l in open('/proc/self/cgroup').read().split() if 'memory' in l or l.startswith('0::'))"
GROUP = f"{LINE}.rpartition('/')[2]"


def test_each_kernel_and_what_it_starts_have_a_control_group(notebook, kernel):
    """What one of them takes is counted for it, and its memory can run out without that of another."""
    group = kernel.value(GROUP)
    child = f"['python', '-c', {f'print({GROUP})'!r}]"
    assert kernel.run(f"import subprocess\nprint(subprocess.check_output({child}, text=True))").strip() == group
    with notebook.new_kernel() as other:
        groups = {group, other.value(GROUP)}
    assert len(groups) == 2 and all(re.fullmatch(r"kernel-\d+", name) for name in groups), groups


def test_a_kernel_that_starts_after_the_server_has_a_group_too(world, notebook, kernel):
    """Who listens there is another process from then on."""
    taken = kernel.value(GROUP)
    world.restart()
    with notebook.new_kernel() as after:
        assert re.fullmatch(r"kernel-\d+", after.value(GROUP)) and after.value(GROUP) != taken


def restarted(kernel):
    """Whether the next thing that the notebook server says is that the kernel has died and comes back."""
    kernel.socket.settimeout(30)
    message = json.loads(kernel.socket.recv())
    return message.get("content", {}).get("execution_state") in ("restarting", "autorestarting")
