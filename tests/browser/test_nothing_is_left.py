"""A browser is gone with its test, also when the test fails. The suite's other tests lean on this."""

import os
import subprocess

import pytest
from support import children
from support.browser import Browser
from support.deadline import wait_until


class OfTheTestError(Exception):
    """What goes wrong in a test."""


def test_a_failed_test_leaves_no_process_and_no_file():
    with pytest.raises(OfTheTestError):
        with Browser() as browser:
            browser.page.set_content("<p>something</p>")
            processes, folder = browser.processes(), browser.folder
            raise OfTheTestError
    assert len(processes) > 5, "a browser has many"
    assert not processes & children.descendants()
    assert not folder.exists()


def test_what_does_not_end_by_itself_is_ended_and_said():
    with pytest.raises(AssertionError, match="the browser is gone: not within"):
        with Browser() as browser:
            browser.grace = 0.5
            processes, folder = browser.processes(), browser.folder
            # As a browser's own detached processes are: in a session of its own, and nobody's child any more.
            detached = ["setsid", "--fork", "sleep", "1000"]
            subprocess.run(detached, env={"HOME": str(folder), "PATH": os.environ["PATH"]}, check=True)
            stray = wait_until(lambda: browser.processes() - processes, "the stray is seen", 10)
    assert not (processes | stray) & children.descendants()
    assert not folder.exists()
