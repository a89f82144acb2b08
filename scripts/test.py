#!/usr/bin/env python3
"""Every check and every test, one part after the other, each with its time, and one sum at the end.

A part is a command with a way to read how many tests passed in its output. A part that ends badly without having
named a failed test counts as one failed test, so that the sum cannot hide it. The last line is plain:
`N passed, N failed`, and `, N skipped` where something could not be tried; skipped is not passed, so the exit status
is 1 then too, unless `ALLOW_SKIP=1` says that it is known. What failed is named right before it, also a test that did
not end: who reads the end of a log has read what matters.
"""

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as xml
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")).absolute()
SILENCE = 8 * 60  # seconds without a word after which a test program of the crates has a test that does not end
LEFT_OUT = 77  # the exit status of a script that could not do its work here, and said why
CARGO_RESULT = re.compile(rb"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored;", re.MULTILINE)
CARGO_BEGINS = re.compile(rb"^running \d+ tests?$", re.MULTILINE)
CARGO_FAILED = re.compile(rb"^test (\S+)(?: - should panic)? \.\.\. FAILED$", re.MULTILINE)
CARGO_PASSED = re.compile(rb"^test (\S+)(?: - should panic)? \.\.\. ok$", re.MULTILINE)
CARGO_SLOW = re.compile(rb"^test (\S+) has been running for over \d+ seconds$", re.MULTILINE)


@dataclass
class Outcome:
    """What came of a part."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    notes: list = field(default_factory=list)
    failures: list = field(default_factory=list)


def run(command, minutes, environment=None, keep=False, silence=None):
    """Runs a command in a process group of its own, so that nothing of it outlives its time. Returns its exit status
    and, where asked for, what it printed. What it has started is killed when nothing was printed for so many seconds:
    `silence`."""
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=REPOSITORY,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if keep else None,
        stderr=None,
        start_new_session=True,
    )
    spoke = time.monotonic()
    end = spoke + minutes * 60
    output = bytearray()
    try:
        if keep:
            os.set_blocking(process.stdout.fileno(), False)
            while process.poll() is None or output_is_left(process, output):
                if output_is_left(process, output):
                    spoke = time.monotonic()
                else:
                    time.sleep(0.05)
                if time.monotonic() > end:
                    raise subprocess.TimeoutExpired(command, minutes * 60)
                if silence and time.monotonic() > spoke + silence:
                    print(f"test: no word for {silence} seconds; this test program is killed", flush=True)
                    spoke = time.monotonic()
                    kill_children(process.pid)
        status = process.wait(max(0.1, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        print(f"test: no end after {minutes} minutes; ended by force", flush=True)
        end_by_force(process)
        status = -1
    except KeyboardInterrupt:
        end_by_force(process)
        raise
    return status, bytes(output)


def kill_children(pid):
    """What the process has started, so that it goes on with the next thing."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
            os.kill(int(child), signal.SIGKILL)


def end_by_force(process):
    """Ends a part before its time. The suites take their notebooks down when they are told to end; what does not listen
    is killed with all that it has started in its group."""
    process.terminate()
    try:
        process.wait(90)
    except subprocess.TimeoutExpired:
        print("test: it does not listen; killed", flush=True)
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def output_is_left(process, output):
    """Passes on what the process has printed meanwhile; whether there was anything."""
    block = process.stdout.read()
    if not block:
        return False
    output += block
    sys.stdout.buffer.write(block)
    sys.stdout.flush()
    return True


def check(command, minutes):
    """A check is one test: it passes or fails as a whole."""

    def part():
        status, _ = run(command, minutes)
        if status == LEFT_OUT:
            return Outcome(notes=["left out"])
        return Outcome(passed=int(status == 0), failed=int(status != 0))

    return part


def build(command, minutes, then=None):
    """A build passes silently; only its failure counts."""

    def part():
        status, _ = run(command, minutes)
        if status == 0 and then:
            then()
        return Outcome(failed=int(status != 0))

    return part


def cargo_tests(command, minutes, environment=None, silence=None):
    """Reads the result lines of `cargo test`, one for each test binary."""

    def part():
        status, output = run(command, minutes, environment, keep=True, silence=silence)
        outcome = Outcome()
        for passed, failed, ignored in CARGO_RESULT.findall(output):
            outcome.passed += int(passed)
            outcome.failed += int(failed)
            outcome.skipped += int(ignored)
        outcome.failures = [name.decode() for name in CARGO_FAILED.findall(output)]
        for program in CARGO_BEGINS.split(output):
            ended = {*CARGO_PASSED.findall(program), *CARGO_FAILED.findall(program)}
            endless = [name for name in CARGO_SLOW.findall(program) if name not in ended]
            outcome.failures += [f"{name.decode()}: did not end" for name in endless]
            outcome.failed += len(endless)
        if status != 0 and outcome.failed == 0:
            outcome.failed = 1
        return outcome

    return part


def python_tests(suite, minutes, marks=None):
    """Runs one folder of `tests/` and reads pytest's own report."""

    def part():
        made = subprocess.run(
            ["scripts/venv.sh", "tests", "tests/requirements.txt"], cwd=REPOSITORY, stdout=subprocess.PIPE, check=False
        )
        if made.returncode != 0:
            return Outcome(failed=1, notes=["no Python environment"])
        python = Path(made.stdout.decode().strip()) / "bin" / "python"
        report = TARGET / "reports" / f"{suite}.xml"
        report.parent.mkdir(parents=True, exist_ok=True)
        report.unlink(missing_ok=True)
        command = [python, "-m", "pytest", "-c", "tests/pytest.ini", f"--junitxml={report}", "--durations=5"]
        command += ["-m", marks] if marks else []
        status, _ = run([*command, f"tests/{suite}"], minutes, server_binaries())
        return read_report(report, status)

    return part


def read_report(report, status):
    """The numbers of a report in JUnit's form."""
    outcome = Outcome()
    if report.exists():
        root = xml.parse(report).getroot()
        for case in root.iter("testcase"):
            for bad in [*case.iter("failure"), *case.iter("error")]:
                why = (bad.get("message") or "").partition("\n")[0]
                outcome.failures.append(f"{case.get('classname')}.{case.get('name')}: {why[:200]}")
        for suite in root.iter("testsuite"):
            tests, errors, failures, skipped = (
                int(suite.get(name, 0)) for name in ("tests", "errors", "failures", "skipped")
            )
            outcome.failed += errors + failures
            outcome.skipped += skipped
            outcome.passed += max(0, tests - errors - failures - skipped)
    if status != 0 and outcome.failed == 0:
        outcome.failed = 1
    return outcome


def server_binaries():
    """Where the suites find the two builds of the server."""
    return {
        "CARGO_TARGET_DIR": str(TARGET),
        "ATELIER_BINARY": str(TARGET / "debug" / "atelier"),
        "ATELIER_BINARY_FAILPOINTS": str(TARGET / "debug" / "atelier-failpoints"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def set_failpoint_build_aside():
    """Both builds come out under one name; the one with failpoints is kept under its own."""
    built, kept = TARGET / "debug" / "atelier", TARGET / "debug" / "atelier-failpoints"
    kept.unlink(missing_ok=True)
    built.rename(kept)


LINT = [
    ("formatting", check(["cargo", "fmt", "--all", "--check"], 2)),
    (
        "clippy",
        check(["cargo", "clippy", "--locked", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"], 15),
    ),
    ("licences, bans, sources", check(["scripts/deny.sh", "--install"], 8)),
]
BUILDS = [
    (
        "build: server with failpoints",
        build(["cargo", "build", "--locked", "-p", "atelier", "--features", "failpoints"], 20, set_failpoint_build_aside),
    ),
    ("build: server", build(["cargo", "build", "--locked", "-p", "atelier"], 20)),
    ("build: tests", build(["cargo", "test", "--locked", "--workspace", "--no-run"], 20)),
]
SUITES = [
    (
        "tests of the crates",
        cargo_tests(["cargo", "test", "--locked", "--workspace", "--no-fail-fast"], 20, silence=SILENCE),
    ),
    (
        "campaign against broken engines",
        cargo_tests(["cargo", "test", "--locked", "-p", "atelier-engine", "--features", "broken", "--test", "campaign"], 15),
    ),
    ("suite harness", python_tests("harness", 5)),
    ("suite store", python_tests("store", 5)),
    ("suite deploy", python_tests("deploy", 5)),
    ("suite sdk", python_tests("sdk", 10)),
    ("suite compat", python_tests("compat", 10)),
    ("suite schema", python_tests("schema", 10, "not long")),
    ("suite gateway", python_tests("gateway", 10)),
    ("suite browser", python_tests("browser", 5)),
    ("suite activity", python_tests("activity", 10)),
    ("suite kernels", python_tests("kernels", 10)),
    ("suite life", python_tests("life", 5)),
    ("suite gpu", python_tests("gpu", 5)),
    ("suite upgrade", python_tests("upgrade", 5, "not long")),
    ("suite volumes", python_tests("volumes", 10)),
    ("suite isolation", python_tests("isolation", 10, "not long")),
    ("suite crash", python_tests("crash", 20, "not long")),
    ("suite faults", python_tests("faults", 10, "not long")),
]
CAMPAIGN = ["cargo", "test", "--locked", "-p", "atelier-engine", "--test", "campaign", "--", "--nocapture"]
LONG = [
    ("campaign, simulated runtime", cargo_tests(CAMPAIGN, 120, {"ATELIER_CAMPAIGN_FAULTS": "10000"})),
    ("campaign, local runtime", python_tests("faults", 240, "long")),
    ("suite upgrade, long", python_tests("upgrade", 60, "long")),
    ("suite crash, long", python_tests("crash", 120, "long")),
    ("suite many, long", python_tests("many", 60, "long")),
    ("suite isolation, long", python_tests("isolation", 15, "long")),
    ("suite schema, long", python_tests("schema", 60, "long")),
    ("a notebook on Debian 12, in a virtual machine", check(["scripts/debian-12.sh"], 20)),
]


def report(outcomes):
    """The table of the parts, what failed, then the sum as the very last line."""
    print(f"\n{'part':<34} {'passed':>7} {'failed':>7} {'skipped':>8} {'seconds':>8}")
    for name, outcome in outcomes:
        notes = f"  {', '.join(outcome.notes)}" if outcome.notes else ""
        print(f"{name:<34} {outcome.passed:>7} {outcome.failed:>7} {outcome.skipped:>8} {outcome.seconds:>8.1f}{notes}")
    passed, failed, skipped = (sum(getattr(o, n) for _, o in outcomes) for n in ("passed", "failed", "skipped"))
    print(f"{'all':<34} {passed:>7} {failed:>7} {skipped:>8} {sum(o.seconds for _, o in outcomes):>8.1f}\n")
    for name, outcome in outcomes:
        for failure in outcome.failures or ["see above"] * min(1, outcome.failed):
            print(f"failed: {name}: {failure}")
    line = f"{passed} passed, {failed} failed"
    if skipped:
        line += f", {skipped} skipped"
        line += "" if os.geteuid() == 0 else ": needs root"
    print(line, flush=True)
    if "ATELIER_TEST_RESULT" in os.environ:
        Path(os.environ["ATELIER_TEST_RESULT"]).write_text(line + "\n", encoding="ascii")
    return failed == 0 and (skipped == 0 or os.environ.get("ALLOW_SKIP") == "1")


def main():
    """Chooses the parts, runs them, sums up."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    arguments = argparse.ArgumentParser(description="Runs the checks and the tests.")
    arguments.add_argument("--long", action="store_true", help="also the campaigns")
    arguments.add_argument("--only", metavar="TEXT", help="`lint`, or the parts whose name contains the text")
    chosen = arguments.parse_args()
    parts = LINT + BUILDS + SUITES + (LONG if chosen.long else [])
    if chosen.only == "lint":
        parts = LINT
    elif chosen.only:
        parts = [part for part in parts if chosen.only in part[0]]
        if not parts:
            arguments.error(f"no part's name contains `{chosen.only}`")

    outcomes = []
    for name, part in parts:
        print(f"\n==> {name}", flush=True)
        begun = time.monotonic()
        outcome = part()
        outcome.seconds = time.monotonic() - begun
        outcomes.append((name, outcome))
        if name.startswith("build: server") and outcome.failed:
            print("test: without the server the suites mean nothing; ending here")
            break
    return 0 if report(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
