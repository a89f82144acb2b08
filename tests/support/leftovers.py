"""What the machine holds on behalf of a server: processes, mounts, loop devices, control groups, networks, sockets,
folders. A list taken before and one taken after must be equal; the difference is printed line by line.

Each line is found by its own nature and not by asking the server: a process by descent, a loop device by the file
behind it, a mount by the machine's own table. Control groups, run folders and interfaces are looked at whole, so that
nothing hides behind an unexpected name. On a machine on which other servers run at the same time that would show
theirs; `ATELIER_TEST_SHARED_MACHINE=1` restricts the first two to names with this data folder's mark, and leaves the
interfaces out.
"""

import hashlib
import json
import os
import stat
import subprocess
from pathlib import Path

from . import children
from .deadline import DeadlineError, wait_until

RUN = Path("/run/atelier")
CGROUPS = Path("/sys/fs/cgroup")
# SQLite's own companions of an open database come and go with its connections.
COMING_AND_GOING = ("-wal", "-shm", "-journal", "-spare")
# What the command line of a launcher that waits has before its layer.
WAITING = " launch-instance ahead "


def proportional_share(pid):
    """Bytes; nothing for a process that has just ended."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0


class Leftovers:
    """Takes the lists for one data folder."""

    def __init__(self, server):
        self.server = server
        self.kept = set()  # notebooks that run on meanwhile: what they write in their own folders is their business
        self.shared = os.environ.get("ATELIER_TEST_SHARED_MACHINE") == "1"

    def take(self):
        """The list now: a set of lines of the form `kind: thing`."""
        lines = set()
        for kind in ("processes", "mounts", "loops", "cgroups", "interfaces", "namespaces", "sockets", "folders"):
            lines |= {f"{kind}: {line}" for line in getattr(self, kind)()}
        return lines

    def wait_until_equal(self, before, seconds=20.0):
        """Waits until the list is the one from before: the kernel takes some things back a moment later."""
        latest = []

        def equal():
            latest[:] = [self.take()]
            return latest[0] == before

        try:
            wait_until(equal, "nothing is left", seconds, 0.1)
        except DeadlineError:
            more, less = sorted(latest[0] - before), sorted(before - latest[0])
            raise LeftoverError(more, less) from None

    def running(self):
        """Every living process below this one but the server itself."""
        server = self.server.process.pid if self.server.process else 0
        return {process for process in children.descendants() if process.pid != server}

    @staticmethod
    def waits(command):
        """Whether a process of this command waits for a start, or is on its way into a container."""
        return "/run/atelier/zygote/" in command or WAITING in command

    def waiting_layers(self):
        """The layers of launchers that wait: they are the server's own, as those are."""
        commands = (process.command for process in self.running() if WAITING in process.command)
        return {os.path.realpath(command.partition(WAITING)[2]) for command in commands}

    def zygotes(self):
        """Those of them that wait to be forked, or are on their way into a container, and the launcher that waits."""
        return {process for process in self.running() if self.waits(process.command)}

    def outliving(self):
        """Those of them that outlive the server: all but the zygotes, which are its own."""
        return self.running() - self.zygotes()

    def processes(self):
        """Everything that runs, told by number and start time."""
        return {f"{process.pid}@{process.started} {process.command}" for process in self.running()}

    def mark(self):
        """How names on the machine tell this data folder from others."""
        return hashlib.sha256(os.fsencode(os.path.realpath(self.server.data_dir))).hexdigest()[:8]

    def cgroups_of_server(self):
        """Control groups that carry this server's mark, and those below them."""
        return {path for path in self._all_cgroups() if self.mark() in path}

    def weight(self, notebook):
        """What a notebook weighs, in bytes: the proportional share (PSS) of all processes in its control groups."""
        pids = set()
        for path in self.cgroups_of_server():
            if notebook in path:
                pids.update(Path(path, "cgroup.procs").read_text(encoding="ascii").split())
        return sum(proportional_share(pid) for pid in pids)

    def run_folders(self):
        """The folders below /run that carry this server's mark."""
        return set(RUN.glob(self.mark()))

    def mounts(self):
        """What is mounted in the machine's own table for this server."""
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
        mine = (str(self.server.data_dir), str(RUN / self.mark()) if self.shared else "atelier")
        return {" ".join(line.split(" ")[3:5]) for line in lines if any(text in line for text in mine)}

    def loops(self):
        """Loop devices whose file is in the data folder."""
        found, waiting = set(), self.waiting_layers()
        for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
            try:
                file = backing.read_text(encoding="utf-8").strip()
            except OSError:
                continue
            if file.startswith(os.path.realpath(self.server.data_dir)) and file not in waiting:
                found.add(file)
        return found

    def cgroups(self):
        """Every control group of Atelier, in every hierarchy."""
        return {path for path in self._all_cgroups() if self._is_mine(path)}

    @staticmethod
    def _all_cgroups():
        # By `os.walk`, which passes over what vanishes while it looks.
        found = set()
        for folder, _, _ in os.walk(CGROUPS):
            if any(part.startswith("atelier") for part in Path(folder).relative_to(CGROUPS).parts):
                found.add(folder)
        return found

    def interfaces(self):
        """Virtual interfaces of notebooks in the machine's own network."""
        shown = subprocess.run(["ip", "-json", "link", "show", "type", "veth"], capture_output=True, check=True)
        names = {link["ifname"] for link in json.loads(shown.stdout or b"[]")}
        # Their names carry no notebook, so that on a shared machine they say nothing.
        return set() if self.shared else {name for name in names if name.startswith("atl")}

    def namespaces(self):
        """Network, mount and user namespaces that processes of ours live in, and named networks."""
        found = set()
        for process in children.descendants():
            for kind in ("net", "mnt", "user", "pid"):
                try:
                    found.add(os.readlink(f"/proc/{process.pid}/ns/{kind}"))
                except OSError:
                    continue
        named = Path("/run/netns")
        if named.is_dir():
            found.update(str(path) for path in named.iterdir() if self._is_mine(str(path)))
        return found

    def sockets(self):
        """Unix sockets and everything else in the run folders."""
        found = set()
        for folder, names, files in os.walk(RUN):
            for path in (Path(folder) / name for name in [*names, *files]):
                if self._is_mine(str(path)) and not self._is_inside_kept(path):
                    found.add(str(path))
        return found

    def folders(self):
        """Everything in the data folder, with its kind."""
        found, waiting = set(), self.waiting_layers()
        for folder, names, files in os.walk(self.server.data_dir):
            if self._is_inside_kept(Path(folder, "x")):
                names.clear()
                continue
            for name in [*names, *files]:
                path = Path(folder, name)
                if name.endswith(COMING_AND_GOING) or os.path.realpath(path) in waiting:
                    continue
                try:
                    kind = stat.filemode(path.lstat().st_mode)[0]
                except FileNotFoundError:
                    continue
                found.add(f"{kind} {path}")
        return found

    def _is_inside_kept(self, path):
        return any(notebook in path.parent.parts for notebook in self.kept)

    def _is_mine(self, text):
        return not self.shared or self.mark() in text


class LeftoverError(AssertionError):
    """Something is left, or something is missing that was there."""

    def __init__(self, more, less):
        lines = [f"  left behind: {line}" for line in more] + [f"  vanished: {line}" for line in less]
        super().__init__("the lists of before and after differ:\n" + "\n".join(lines))
        self.more = more
        self.less = less
