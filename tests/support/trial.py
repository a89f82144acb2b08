"""Notebooks under which the server is replaced: cells count while it happens, and clients come back."""

import os
import shutil

from .deadline import wait_until
from .listener import Listener

# Numbers in a cell, one every 10 ms.
COUNT = 500
# So many are asked for at a time: all at once on a small machine would run into the deadlines of their starts.
AT_A_TIME = 5


class Trial:
    """Some notebooks, and in the first of them kernels that remember something."""

    def __init__(self, world, count, kernels):
        self.world = world
        self.shown = []
        while len(self.shown) < count:
            asked = [world.api.create()["id"] for _ in range(min(AT_A_TIME, count - len(self.shown)))]
            for notebook in asked:
                world.api.wait_for(notebook, "RUNNING", seconds=240)
            self.shown += [world.api.show(notebook) for notebook in asked]
        self.kernels = [world.notebook(shown).start_kernel() for shown in self.shown[:kernels]]
        for number, kernel in enumerate(self.kernels):
            kernel.run(f"import os\nremembered = ['kept', {number}, os.getpid()]")
        self.remembered = [kernel.value("remembered") for kernel in self.kernels]

    def replace(self, replace):
        """Replaces the server in the middle of a cell on every kernel; the listeners afterwards."""
        listeners = [Listener(kernel, COUNT) for kernel in self.kernels]
        wait_until(lambda: all(listener.has_heard(100) for listener in listeners), "cells are under way", 60)
        replace()
        for listener in listeners:
            listener.wait(60)
            assert len(listener.gaps) == 1, f"the socket ended {len(listener.gaps)} times"
        said = [
            f"{gap.without_socket * 1000:.0f} ms without a socket, {gap.without_word * 1000:.0f} ms without a word"
            for listener in listeners
            for gap in listener.gaps
        ]
        print("\nclients were for", "; ".join(said))
        return listeners

    def check(self):
        """Nothing was restarted: same start, same process, same memory."""
        for shown in self.shown:
            now = self.world.api.show(shown["id"])
            assert (now["status"], now["token"]) == ("RUNNING", shown["token"])
            assert self.world.notebook(shown).request("GET", "/api/status").status_code == 200
        for kernel, remembered in zip(self.kernels, self.remembered, strict=True):
            assert kernel.value("[*remembered[:2], os.getpid()]") == remembered


def another_path(program, folder):
    """The program once more, below another folder, as the next release is."""
    folder.mkdir()
    other = folder / "atelier"
    try:
        os.link(program, other)
    except OSError:
        shutil.copy2(program, other)
    return other
