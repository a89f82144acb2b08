"""That the other tests mean something: cells can do what notebooks may do, and what was tried is what is documented."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.attempts import in_the_cell

pytestmark = pytest.mark.local

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "security.md"
# What proves the attempts, and what measures, is no attempt.
NO_ATTEMPT = ("test_soundness", "test_meanwhile")

READ = "brought = open('/home/ma-user/work/own.txt').read()"
FETCH = """
import urllib.request
brought = urllib.request.build_opener(urllib.request.ProxyHandler({{}})).open({url!r}, timeout=10).read().decode()
"""


def test_soundness_of_files(stage, kernel):
    """A cell reads what is its own."""
    kernel.run(f"open('/home/ma-user/work/own.txt', 'w').write({stage.word!r})")
    assert stage.word in in_the_cell(kernel, READ)


def test_soundness_of_the_network(stage, kernel):
    """Beside the closed link-local address stands an open one on the same pretended machine."""
    assert stage.word in in_the_cell(kernel, FETCH.format(url=stage.outside.url))


def test_soundness_of_powerlessness(kernel):
    """What the kernel says of the process itself, whatever is tried."""
    text = kernel.run("print(open('/proc/self/status').read())")
    status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    assert {status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"
    assert status["Uid"].split() == ["1000"] * 4


def test_soundness_of_the_document():
    """Every attempt has its line in `docs/security.md`, and every line there its attempt."""
    collect = [sys.executable, "-m", "pytest", "-c", "tests/pytest.ini", "--collect-only", "-q", str(HERE)]
    listed = subprocess.run(collect, capture_output=True, text=True, check=True, cwd=HERE.parents[1]).stdout
    tests = [line.split("::")[1] for line in listed.splitlines() if "::" in line]
    tried = {words(test) for test in tests if not test.startswith(NO_ATTEMPT)}
    rows = re.findall(r"^\| `([^`]+)` \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == len(set(rows)), "a line stands there twice"
    assert set(rows) - tried == set(), "these lines have no attempt"
    assert tried - set(rows) == set(), "these attempts have no line"


def words(test):
    """`test_file[admin_file]` as the document has it: `file: admin file`."""
    return test.removeprefix("test_").replace("[", ": ").rstrip("]").replace("_", " ")
