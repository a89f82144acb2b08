"""What lies in `deploy/` is taken by the programs that it is made for.

`promtool` reads the alert rules and what `/metrics` answers, `systemd-analyze` the unit and its socket. That the dashboard
and the rules speak of figures that exist is a test of the server's own (`seeing`).
"""

import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest
from support.server import Server, binary, free_port

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def checked(*command, text=None):
    """Runs a checker and answers all that it said, together with its exit status."""
    program = shutil.which(command[0])
    assert program, f"`{command[0]}` is missing: scripts/setup.sh test installs it"
    done = subprocess.run([program, *command[1:]], input=text, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """What a server answers at `/metrics`, in the format that `promtool` reads."""
    address = f"127.0.0.1:{free_port()}"
    environment = {"ATELIER_METRICS__LISTEN": address}
    server = Server(tmp_path_factory.mktemp("deploy") / "data", runtime="simulated", environment=environment).start()
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            yield answer.read().decode()
    finally:
        server.stop()


def test_the_alert_rules_are_rules():
    """Every expression is one, every template is filled in."""
    status, said = checked("promtool", "check", "rules", str(DEPLOY / "prometheus-rules.yml"))
    assert status == 0 and re.search(r"SUCCESS: \d+ rules found", said), said


def test_a_rule_that_is_none_is_refused(tmp_path):
    """The check above can fail."""
    rules = (DEPLOY / "prometheus-rules.yml").read_text(encoding="utf-8")
    broken = tmp_path / "rules.yml"
    broken.write_text(re.sub(r"expr: .*", "expr: sum(", rules, count=1), encoding="utf-8")
    status, said = checked("promtool", "check", "rules", str(broken))
    assert status != 0, said


def test_figures_are_read_by_prometheus(figures):
    """No line is a mistake. `promtool` reads the older format only, which has neither an end nor the type `info`; its
    advice about names is left aside, because OpenMetrics has other rules."""
    plain = re.sub(r"(?m)^# TYPE (\S+) info$", r"# TYPE \1_info gauge", figures).replace("# EOF\n", "")
    status, said = checked("promtool", "check", "metrics", text=plain)
    assert "error while linting" not in said and status in (0, 3), said
    assert checked("promtool", "check", "metrics", text=plain + "broken{ 1\n")[0] == 1


def test_every_question_of_the_dashboard_is_one(tmp_path):
    """Prometheus parses what each panel asks; it is shown them as rules."""
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(asked) > 20
    rules = [{"record": f"panel:{at}", "expr": expr.replace("$job", "atelier")} for at, expr in enumerate(asked)]
    written = tmp_path / "dashboard.json"
    written.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    status, said = checked("promtool", "check", "rules", str(written))
    assert status == 0 and f"{len(asked)} rules found" in said, said


def test_a_disk_that_fills_is_alerted_of(tmp_path):
    """By the rule itself: a twentieth is free for six minutes. With a fifth nobody is woken."""
    wanted = {"exp_labels": {"severity": "warning"}, "exp_annotations": {}}
    rules = (DEPLOY / "prometheus-rules.yml").read_text(encoding="utf-8")
    plain = tmp_path / "rules.yml"
    plain.write_text(re.sub(r"(?m)^        annotations:\n(          .*\n?)+", "", rules), encoding="utf-8")
    for free, alerts in ((5, [wanted]), (20, [])):
        series = [
            {"series": 'atelier_data_disk_bytes{state="free"}', "values": f"{free}x10"},
            {"series": 'atelier_data_disk_bytes{state="total"}', "values": "100x10"},
        ]
        rule = {"eval_time": "6m", "alertname": "AtelierDiskNearlyFull", "exp_alerts": alerts}
        tried = {"interval": "1m", "input_series": series, "alert_rule_test": [rule]}
        written = tmp_path / "trial.json"
        written.write_text(json.dumps({"rule_files": [str(plain)], "tests": [tried]}), encoding="utf-8")
        status, said = checked("promtool", "test", "rules", str(written))
        assert status == 0, said


def test_systemd_takes_the_unit_and_its_socket(tmp_path):
    """Nothing is unknown to it. The program is the one under test: the unit names where an operator installs it."""
    unit = (DEPLOY / "atelier.service").read_text(encoding="utf-8")
    assert "/usr/local/bin/atelier" in unit
    written = tmp_path / "atelier.service"
    written.write_text(unit.replace("/usr/local/bin/atelier", str(binary())), encoding="utf-8")
    shutil.copy(DEPLOY / "atelier.socket", tmp_path)
    command = ("systemd-analyze", "verify", "--man=no", str(written), str(tmp_path / "atelier.socket"))
    status, said = checked(*command)
    ours = [line for line in said.splitlines() if str(tmp_path) in line or "atelier." in line]
    assert status == 0 and not ours, said
    written.write_text(unit + "\n[Service]\nLimitNOFILES=1\n", encoding="utf-8")
    assert "LimitNOFILES" in checked(*command)[1]
