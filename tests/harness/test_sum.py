"""What `make test` says of tests that fail, and of those that do not end."""

import importlib.util
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def runner():
    spec = importlib.util.spec_from_file_location("runner", REPOSITORY / "scripts" / "test.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# As `cargo test` says it: the first program has a test that does not end, the next one has one that fails.
PROGRAMS = """
echo 'test quick ... ok'
echo 'test slow has been running for over 60 seconds'
echo 'test endless has been running for over 60 seconds'
echo 'test slow ... ok'
sleep 1000
echo 'test one ... ok'
echo 'test other ... FAILED'
echo 'test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s'
exit 101
"""


def test_a_test_that_does_not_end_is_named_and_holds_nothing_up(runner, capsys):
    outcome = runner.cargo_tests(["bash", "-c", PROGRAMS], minutes=1, silence=0.5)()
    assert (outcome.passed, outcome.failed) == (1, 2)
    assert outcome.failures == ["other", "endless: did not end"]
    assert not runner.report([("tests of the crates", outcome)])
    end = capsys.readouterr().out.splitlines()[-3:]
    assert end == [
        "failed: tests of the crates: other",
        "failed: tests of the crates: endless: did not end",
        "1 passed, 2 failed",
    ]


def test_a_part_that_ends_badly_without_a_word_is_a_failure(runner):
    outcome = runner.cargo_tests(["false"], minutes=1)()
    assert (outcome.passed, outcome.failed, outcome.failures) == (0, 1, [])


def test_failures_of_a_suite_are_named_with_their_reason(runner, tmp_path):
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite tests="2" errors="0" failures="1" skipped="0">'
        '<testcase classname="life.test_x" name="test_y"><failure message="AssertionError: 1&#10;more">..</failure></testcase>'
        '<testcase classname="life.test_x" name="test_z"/></testsuite></testsuites>'
    )
    outcome = runner.read_report(report, 1)
    assert (outcome.passed, outcome.failed) == (1, 1)
    assert outcome.failures == ["life.test_x.test_y: AssertionError: 1"]
