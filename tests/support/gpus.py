"""A machine that seems to have GPUs: a pretended NVML, a pretended libcuda and device nodes without a driver behind them.

No GPU computes anything here. What is real is all that Atelier does about GPUs: which are found, who is given them, and
what the notebook finds of them. The nodes are character devices of NVIDIA's own number, so that what opens one is told
that there is no such device (ENXIO), unless something has kept it from the node before (EPERM, EACCES, ENOENT)."""

import os
import subprocess
import uuid
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[1] / "gpu"
NVIDIA = 195  # the major number of the driver's nodes
DRIVER = "999.42"
KIND = "Pretended L4"
# High, so that even on a machine with GPUs nothing real is behind them.
MINORS = (200, 201)
DIVIDED = 202
# Flavors that have one of them, and both.
SMALL = "fake.gpu.1"
BOTH = "fake.gpu.2"
# In a mount namespace of its own, the server has a `/dev` with further nodes. It holds the loop devices that the kernel
# has not made yet, too: those appear in the machine's `/dev` alone.
PUT_NODES = """
set -e
mount -t tmpfs -o mode=0755,size=16m nodes "$1"
cp -ax /dev/. "$1"
for n in $(seq 0 255); do test -e "$1/loop$n" || mknod "$1/loop$n" b 7 "$n"; done
for of in pts shm; do mount --rbind "/dev/$of" "$1/$of"; done
for node in "$2"/*; do cp -a "$node" "$1"; done
mount --move "$1" /dev
shift 2
exec "$@"
"""


class Machine:
    """What is pretended, in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.nodes = self._folder("nodes")
        self.description = folder / "gpus"
        self.ids = [f"GPU-{uuid.uuid4()}" for _ in (*MINORS, DIVIDED)]
        self.library = self._compile("nvml.c", "libnvidia-ml")
        self._compile("cuda.c", "libcuda")
        (self._folder("driver") / "libcuda.so.1.0").write_text("of another version", encoding="ascii")
        for name, minor in [*((f"nvidia{n}", n) for n in (*MINORS, DIVIDED)), ("nvidiactl", 255), ("nvidia-uvm", 254)]:
            os.mknod(self.nodes / name, 0o020666, os.makedev(NVIDIA, minor))
            (self.nodes / name).chmod(0o666)
        program = self._folder("bin") / "nvidia-smi"
        program.write_text("#!/bin/sh\necho the pretended program\n", encoding="ascii")
        program.chmod(0o755)
        self.describe()

    def _folder(self, name):
        folder = self.folder / name
        folder.mkdir(mode=0o755, exist_ok=True)
        return folder

    def _compile(self, source, library):
        """One that lies as the driver's do: by its version, and by the name that programs ask for."""
        made = self._folder("driver") / f"{library}.so.{DRIVER}"
        command = ["cc", "-shared", "-fPIC", "-Wall", "-Werror", f"-Wl,-soname,{library}.so.1", "-o", made, SOURCES / source]
        subprocess.run(command, check=True)
        asked = made.with_name(f"{library}.so.1")
        asked.symlink_to(made.name)
        return asked

    def describe(self, busy=0, used_mib=0):
        """What the pretended NVML says from now on: two GPUs, and one that is divided."""
        of_each = [f"{24 << 10} {used_mib} {busy} {int(n == DIVIDED)} {KIND}" for n in (*MINORS, DIVIDED)]
        lines = [f"{id} {minor} {rest}" for id, minor, rest in zip(self.ids, (*MINORS, DIVIDED), of_each, strict=True)]
        fresh = self.description.with_suffix(".new")
        fresh.write_text("\n".join([DRIVER, *lines, ""]), encoding="ascii")
        fresh.rename(self.description)

    def environment(self):
        """What the server is told."""
        return {
            "FAKE_NVML": str(self.description),
            "ATELIER_LOCAL__NVML": str(self.library),
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
        }

    def within(self):
        """What the server's command line stands behind."""
        words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", PUT_NODES, "sh"]
        return [*words, str(self._folder("dev")), str(self.nodes)]
