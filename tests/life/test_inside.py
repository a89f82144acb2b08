"""A running notebook from the command line: what it uses, commands in it, and files into it and out of it."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios

import pytest
from support.deadline import wait_until
from support.figures import figure

pytestmark = pytest.mark.local

MIB = 1 << 20


@pytest.fixture(scope="module")
def shown(world):
    """The notebook that is looked into."""
    return world.api.create_running("inside")


def words(world, command, *rest):
    """The words of a command line."""
    return [world.server.binary, "notebook", command, "--data-dir", world.server.data_dir, *rest]


def line(world, *rest, **options):
    """One command line, run to its end."""
    options.setdefault("stdin", None if "input" in options else subprocess.DEVNULL)
    return subprocess.run(words(world, *rest), capture_output=True, timeout=60, check=False, **options)


def run(world, *command, flags=(), **options):
    """A command in the notebook: its exit status, what it wrote, and what it wrote of errors."""
    answer = line(world, "exec", "inside", *flags, "--", *command, **options)
    return answer.returncode, answer.stdout.decode(), answer.stderr.decode()


def running(world, mark):
    """The processes of notebooks with this word in their command line."""
    here = str(world.server.binary)
    return [p for p in world.leftovers.running() if mark in p.command and not p.command.startswith(here)]


def copy(world, *rest, **options):
    """One copy: its exit status and what it wrote of errors."""
    answer = line(world, "cp", *map(str, rest), **options)
    return answer.returncode, answer.stderr.decode()


class Begun:
    """A command line that goes on, ended at last."""

    def __init__(self, world, *rest, **options):
        self.command = words(world, *rest)
        self.options = options

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **self.options
        )
        return self.process

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


class Terminal:
    """A command line on a terminal of its own."""

    def __init__(self, world, *rest, columns=97, rows=31):
        self.command = words(world, *rest)
        self.size = struct.pack("HHHH", rows, columns, 0, 0)
        self.said = b""

    def __enter__(self):
        self.master, slave = pty.openpty()
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, self.size)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.process = subprocess.Popen(
            self.command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.set_blocking(self.master, False)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.slave)
        os.close(self.master)

    def type(self, text):
        os.write(self.master, text.encode())

    def resize(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.killpg(self.process.pid, signal.SIGWINCH)

    def until(self, text):
        """Everything up to this text, which has come."""

        def has_come():
            try:
                self.said += os.read(self.master, 65536)
            except BlockingIOError:
                pass
            return text.encode() in self.said

        wait_until(has_come, f"the terminal says {text!r}; it said {self.said!r}", 20, 0.02)
        before, _, self.said = self.said.partition(text.encode())
        return before.decode()


def top(world, *words):
    """The records that `top` prints."""
    answer = line(world, "top", "-o", "json", *words)
    assert answer.returncode == 0, answer.stderr.decode()
    return json.loads(answer.stdout)


def test_top_shows_what_a_notebook_uses(world, shown):
    [idle] = top(world)
    assert (idle["name"], idle["cpu_limit_millis"], idle["memory"]["limit"]) == ("inside", 500, 512 * MIB)
    with world.notebook(shown).new_kernel() as kernel:
        kernel.run("held = b'x' * (100 << 20)")
        assert run(world, "sh", "-c", "head -c 90000000 /dev/zero > filled")[0] == 0
        kernel.begin("print('begun', flush=True)\nwhile True: pass")
        kernel.receive("stream")
        [busy] = top(world, "inside")
        assert 400 <= busy["cpu_millis"] <= 600, "all that its flavor allows"
        assert busy["memory"]["used"] > idle["memory"]["used"] + 90 * MIB
        assert idle["memory"]["used"] < busy["memory"]["used"] < busy["memory"]["peak"] <= busy["memory"]["limit"]
        assert busy["processes"] > idle["processes"]
        assert busy["volume"]["bytes_percent"] > idle["volume"]["bytes_percent"]
        first, most = busy["running"][0], max(busy["running"], key=lambda process: process["cpu_millis"])
        assert (first["pid"], first["command"]) == (1, "/run/atelier/bin/init")
        assert "ipykernel" in most["command"] and most["memory"] > 100 * MIB, most
    table = line(world, "top", "inside").stdout.decode().splitlines()
    assert table[0].split()[:2] == ["NAME", "CPU"] and any("bin/init" in row for row in table), table
    [everybodys] = top(world, "--all")
    assert everybodys["owner"] == "admin" and "running" not in everybodys


def test_a_command_is_ma_user_in_the_notebook_and_nobody_else(world, shown):
    code, said, errors = run(world, "sh", "-c", "id -u; pwd; grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status; echo no >&2")
    uid, folder, *limits = said.split("\n")
    assert (code, uid, folder, errors) == (0, "1000", "/home/ma-user/work", "no\n")
    limits = dict(each.split(":\t") for each in limits if each)
    assert {limits.pop("NoNewPrivs"), limits.pop("Seccomp")} == {"1", "2"}
    assert set(limits.values()) == {"0" * 16}, limits
    # What a terminal has, and no secret of the server's.
    _, env, _ = run(world, "env", flags=("-e", "A=b c", "-w", "/tmp"))
    env = dict(each.split("=", 1) for each in env.splitlines())
    with world.notebook(shown).new_kernel() as kernel:
        terminal = kernel.value("dict(__import__('os').environ)")
        groups = kernel.value("open('/proc/self/cgroup').read()")
        # But for the memory, of which a kernel has a group of its own.
        assert re.sub(r"/(\.\./)?kernel-\d+\n", "/\n", groups) == run(world, "cat", "/proc/self/cgroup")[1]
    assert (env["PATH"], env["HOME"], env["A"]) == (terminal["PATH"], terminal["HOME"], "b c")
    assert not any("TOKEN" in name or "SECRET" in name for name in env), env
    assert run(world, "sh", "-c", "pwd; ls -l /proc/self/fd | wc -l", flags=("-w", "/tmp"))[1].split() == ["/tmp", "5"]


def test_what_lies_below_run_needs_no_shifted_ids(world, shown):
    """`/run` is a tmpfs nearly everywhere, which shifts ids since Linux 6.3 only: Debian 12 has 6.1."""
    _, mounts, _ = run(world, "cat", "/proc/self/mountinfo")
    options = {fields[4]: fields[5] for fields in map(str.split, mounts.splitlines())}
    assert "idmapped" in options["/home/ma-user/work"], options
    assert not any("idmapped" in options[point] for point in ("/run/atelier", "/run/atelier/bin/init", "/etc/hosts")), options
    assert run(world, "stat", "-c", "%u", "/run/atelier", "/run/atelier/control", "/etc/hosts")[1].split() == ["0"] * 3


def test_the_exit_status_is_the_commands(world, shown):
    for command, code in ((["true"], 0), (["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -9 $$"], 137)):
        assert run(world, *command) == (code, "", ""), command
    assert run(world, "no-such-program")[0] == 127
    code, _, errors = run(world, "/etc/passwd")
    assert code == 126 and "`/etc/passwd`: Permission denied" in errors, errors
    assert run(world, "true", flags=("-w", "nowhere"))[0] == 126
    # By its name and by a path, and what it opens by its name.
    assert run(world, "sh", "-c", "echo out >/dev/stdout; echo err >/dev/stderr") == (0, "out\n", "err\n")


def test_stdin_reaches_the_command_and_its_end_too(world, shown):
    assert run(world, "wc", "-c", input=b"x" * 3_000_000) == (0, "3000000\n", "")
    # A command that reads nothing does not hold anybody up; one that leaves something behind neither.
    assert run(world, "sh", "-c", "echo done", input=b"x" * 3_000_000) == (0, "done\n", "")
    assert run(world, "sh", "-c", "sleep 4711 & echo $!")[0] == 0
    wait_until(lambda: not running(world, "4711"), "what the command left behind ends with it", 10)
    code, said, _ = run(world, "sh", "-c", "head -c 20000000 /dev/zero; echo end >&2")
    assert (code, len(said)) == (0, 20_000_000)


def test_a_command_whose_client_dies_ends_and_takes_that_for_no_end_of_input(world, shown):
    kept = "cat >/dev/null && echo whole >/home/ma-user/work/4712"
    with Begun(world, "exec", "inside", "--", "sh", "-c", f"trap '' HUP; sleep 4712 & {kept}") as client:
        client.stdin.write(b"half")
        client.stdin.flush()
        wait_until(lambda: len(running(world, "4712")) == 2, "the command runs", 20)
        client.kill()
        wait_until(lambda: not running(world, "4712"), "the command has ended, although it does not hear a hang-up", 20)
    assert run(world, "cat", "4712")[0] == 1, "half of the input was taken for the whole"


def test_commands_and_copies_are_counted_also_those_that_break_off(world, shown, tmp_path):
    def counted():
        kinds = [("command", "exited"), ("command", "broken"), ("send", "exited"), ("receive", "exited")]
        ended = [figure(world, f'atelier_commands_total{{kind="{kind}",result="{result}"}}') for kind, result in kinds]
        return [figure(world, "atelier_open_commands "), *ended]

    wait_until(lambda: counted()[0] == 0, "no command runs", 20)
    before = counted()
    assert run(world, "false")[0] == 1
    assert run(world, "/no/such/program")[0] == 127
    with Begun(world, "exec", "inside", "--", "sleep", "4713"):
        wait_until(lambda: figure(world, "atelier_open_commands ") == 1, "the command is an open one", 20)
    (tmp_path / "counted").write_text("x")
    assert copy(world, tmp_path / "counted", "inside:")[0] == copy(world, "inside:counted", tmp_path / "back")[0] == 0
    # What is not there to be run ends with a code, as a shell says it.
    expected = [each + more for each, more in zip(before, [0, 2, 1, 1, 1], strict=True)]
    wait_until(lambda: counted() == expected, f"{expected} are counted", 20)


def test_a_terminal_has_its_size_and_its_keys(world, shown):
    with Terminal(world, "exec", "inside", "--", "sh") as terminal:
        terminal.type("stty size; tty; echo $(id -u):$(stat -c %u $(tty)) END\n")
        assert "31 97\r\n/dev/pts/" in terminal.until("1000:1000 END")
        terminal.resize(133, 44)
        terminal.type("while [ \"$(stty size)\" != '44 133' ]; do sleep 0.1; done; echo grown\" \"up\n")
        terminal.until("grown up")
        terminal.type("sleep 4713\n")
        wait_until(lambda: running(world, "sleep 4713"), "the command runs", 20)
        terminal.type("\x03")
        terminal.type("echo code $?\n")
        terminal.until("code 130")
        terminal.type("exit 5\n")
        assert terminal.process.wait(20) == 5
        assert termios.tcgetattr(terminal.slave) == terminal.before, "the terminal is as it was"
    # Without terminals here there is one there only when it is asked for, and Ctrl-D is its end of input.
    assert run(world, "tty") == (1, "not a tty\n", "")
    assert run(world, "sh", flags=("-t",), input=b"exit 3\n")[0] == 3
    assert run(world, "cat", flags=("--tty=always",), input=b"")[0] == 0


def test_commands_are_work_and_their_programs_are_audited(world, shown):
    path = f"/notebooks/{shown['id']}"
    world.api.renew(shown["id"], 3_600_000, kind="idle")
    with Begun(world, "exec", "inside", "--", "sleep", "4714"):
        wait_until(lambda: running(world, "sleep 4714"), "the command runs", 20)

        def people():
            signals = world.api.own(f"{path}/activity")["signals"]
            return next(each["last_active_at"] for each in signals if each["signal"] == "people")

        first = people()
        wait_until(lambda: people() > first, "it counts as work for as long as it runs", 20)
    records = world.api.own("/audit?operation=GetNotebooksExec&limit=1")["records"]
    assert [(r["notebook_id"], r["status"], r["changes"][0]["after"]) for r in records] == [(shown["id"], 101, "sleep")]
    assert "4714" not in json.dumps(records)


def test_who_may_not_and_what_does_not_run_is_refused(world, shown):
    api = world.api
    with Begun(world, "exec", "inside", "--", "cat") as _:
        rest = [Begun(world, "exec", "inside", "--", "sleep", "4715") for _ in range(7)]
        for begun in rest:
            begun.__enter__()
        try:
            wait_until(lambda: len(running(world, "sleep 4715")) == 7, "seven commands run", 30)
            wait_until(lambda: "cat" in (p.command for p in world.leftovers.running()), "and the eighth", 30)
            code, _, errors = run(world, "true")
            assert code == 125 and "8 commands at a time (ModelArts.0118)" in errors, errors
        finally:
            for begun in rest:
                begun.__exit__()
    wait_until(lambda: run(world, "true")[0] == 0, "there is room again", 20)
    stopped = api.create_running("stops")
    with Begun(world, "exec", "stops", "--", "sleep", "4716") as client:
        wait_until(lambda: running(world, "sleep 4716"), "the command runs", 20)
        api.stop(stopped["id"])
        assert client.wait(30) == 125
        assert b"the notebook has stopped" in client.stderr.read()
    api.wait_for(stopped["id"], "STOPPED")
    answer = line(world, "exec", "stops", "--", "true")
    assert answer.returncode == 125 and b"ModelArts.6327" in answer.stderr, answer.stderr


def test_another_user_finds_no_such_notebook(world, shown):
    command = [world.server.binary, "user", "create", "ada", "--password-stdin", "--data-dir", world.server.data_dir]
    assert subprocess.run(command, input=b"Sesame-4711-open\n", capture_output=True, check=False).returncode == 0
    ada = {**os.environ, "ATELIER_USER": "ada", "ATELIER_PASSWORD": "Sesame-4711-open", "ATELIER_ENDPOINT": world.server.url}
    for rest in (["exec", shown["id"], "--", "true"], ["top", shown["id"]], ["top", "--all"]):
        answer = line(world, *rest, env=ada)
        assert answer.returncode == (125 if rest[0] == "exec" else 1), answer.stderr
        assert b"ModelArts.0112" in answer.stderr if "--all" in rest else b"ModelArts.6404" in answer.stderr
    path = f"{world.server.url}/atelier/v1/{world.api.project}/notebooks/{shown['id']}/exec"
    refused = world.api.http.get(path, headers={"X-Auth-Token": world.api.token()}, timeout=30)
    assert (refused.status_code, refused.json()["error_code"]) == (400, "APIG.0201")


def test_files_and_folders_are_copied_both_ways(world, shown, tmp_path):
    here, back = tmp_path / "here", tmp_path / "back"
    (here / "sub" / "empty").mkdir(parents=True)
    (here / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (here / "run.sh").chmod(0o750)
    (here / "sub" / "up").symlink_to("../run.sh")
    with open(here / "large", "wb") as large:
        large.write(b"beginning")
        large.truncate(200 * MIB)
        large.seek(0, os.SEEK_END)
        large.write(b"end")
    os.utime(here / "large", ns=(1, 1_700_000_000_123_456_789))
    assert copy(world, here, "inside:") == (0, "")
    assert run(world, "here/sub/up")[1] == "ran\n"
    assert run(world, "stat", "-c", "%u %a %s %Y", "here/run.sh", "here/large")[1].splitlines() == [
        f"1000 750 {(here / 'run.sh').stat().st_size} {int((here / 'run.sh').stat().st_mtime)}",
        f"1000 644 {200 * MIB + 3} 1700000000",
    ]
    assert copy(world, "inside:here", back) == (0, "")
    assert subprocess.run(["diff", "-r", "--no-dereference", here, back], check=False).returncode == 0
    assert (back / "large").stat().st_mtime_ns == 1_700_000_000_123_456_789
    assert (back / "run.sh").stat().st_mode & 0o777 == 0o750 and os.readlink(back / "sub" / "up") == "../run.sh"
    # Into a folder that is there, over what is there, and one file by another name.
    (back / "run.sh").write_text("changed")
    assert copy(world, "inside:here/run.sh", back) == (0, "") and "ran" in (back / "run.sh").read_text()
    assert copy(world, "inside:here/run.sh", tmp_path / "other") == (0, "") and "ran" in (tmp_path / "other").read_text()
    # From stdin and to stdout.
    assert copy(world, "-", "inside:/tmp/typed", input=b"typed\n") == (0, "")
    assert line(world, "cp", "inside:/tmp/typed", "-").stdout == b"typed\n"
    assert run(world, "sh", "-c", "rm -r here; ls -a | grep part")[1] == ""


def test_a_copy_that_is_not_whole_says_so_and_leaves_no_half_file(world, shown, tmp_path):
    assert run(world, "sh", "-c", "mkdir part && cd part && echo a >a && mkfifo b && echo c >c && chmod 0 c && ln -s /etc/passwd d")[0] == 0
    code, errors = copy(world, "inside:part", tmp_path)
    assert code == 1 and [each.name for each in (tmp_path / "part").iterdir()] == ["a"], errors
    for said in ("`part/b` is left out", "`part/c` is left out: Permission denied", "part/d` is left out: it is a link", "not everything"):
        assert said in errors, errors
    for wrong in (["inside:none", tmp_path], ["inside:part", "-"], [tmp_path, "inside:none/none"], ["-", "inside:part"], ["inside:a", "inside:b"]):
        code, errors = copy(world, *wrong)
        assert code == 1 and "error: " in errors, (wrong, errors)
    # Whoever copies dies in the middle.
    with Begun(world, "cp", "-", "inside:half") as client:
        client.stdin.write(b"x" * 1_000_000)
        client.stdin.flush()
        wait_until(lambda: running(world, "receive"), "the copy runs", 20)
        client.kill()
        wait_until(lambda: not running(world, "receive"), "it has ended", 20)
    assert run(world, "sh", "-c", "ls -d half; rm -rf part .atelier*")[1] == ""


def test_a_server_that_goes_ends_its_commands_and_the_client_says_so(world, shown):
    for end, said in ((signal.SIGTERM, b"the server stops"), (signal.SIGKILL, b"broke off")):
        kept = "trap '' HUP; sleep 4717 & cat >/dev/null && touch /home/ma-user/work/4717"
        with Begun(world, "exec", "inside", "--", "sh", "-c", kept) as client:
            wait_until(lambda: len(running(world, "4717")) == 2, "the command runs", 20)
            world.server.process.send_signal(end)
            assert client.wait(30) == 125
            assert said in client.stderr.read()
            world.server.process.wait(30)
            wait_until(lambda: not running(world, "4717"), "nothing of it is left", 20)
        world.start()
        assert world.api.status(shown["id"]) == "RUNNING"
    assert run(world, "ls", "4717")[0] == 2, "the server's end was taken for the end of the input"
