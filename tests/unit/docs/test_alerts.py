"""What operators are told to watch is what an orchestrator shows, all of it and nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from astara.planning.classify import Phase
from astara.runtime.main import Orchestrator
from astara.runtime.options import load

HOWTO = Path(__file__).parents[3] / "docs" / "howto"
RULES = HOWTO / "astara-alerts.yaml"
PAGE = (HOWTO / "operate.md").read_text()
#: The first column of the table of metrics.
TABLE = "\n".join(re.findall(r"^\| `(astara_[^|]*)` \|", PAGE.partition("## What to watch")[2], re.MULTILINE))
#: What Prometheus makes of one histogram or counter.
_PARTS = re.compile(r"_(bucket|count|sum|total|created)$")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Names an orchestrator's /metrics has, and the labels each may have."""
    home = tmp_path_factory.mktemp("orchestrator")
    (home / "secret").write_text("s3cret")
    (home / "astara.conf").write_text(
        f"[DEFAULT]\nstate_dir = {home}\n[neutron]\nurl = http://127.0.0.1:9\n"
        f"[intake]\nhttp_secret_file = {home}/secret\n[services]\ndefault_provider = memory\n"
        f"[admin]\nsocket = {home}/admin.sock\n"
    )
    made = Orchestrator(load(["--config-file", str(home / "astara.conf")]))
    try:
        registry = made._metrics.registry
        text = generate_latest(registry).decode()
        labels = {
            collector._name: set(collector._labelnames)
            for collector in registry._collector_to_names
            if hasattr(collector, "_labelnames")
        }
        families = [one for one in text_string_to_metric_families(text) if not one.name.endswith("_created")]
        found = {family.name: labels.get(family.name, set()) for family in families}
        for family in families:
            found[family.name] |= {label for sample in family.samples for label in sample.labels} - {"le"}
        return found
    finally:
        made.stop()


def _rules() -> list[dict[str, object]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def _base(name: str) -> str:
    return _PARTS.sub("", name)


def _named(text: str) -> dict[str, set[str]]:
    """Names of metrics in a text, with the labels named in braces right behind them."""
    found: dict[str, set[str]] = {}
    for name, braces in re.findall(r"\b(astara_[a-z_]+)(?:\{([^}]*)\})?", text):
        labels = set(re.findall(r"(?:^|,)\s*([a-z_]+)", re.sub(r'"[^"]*"', "", braces)))
        found.setdefault(_base(name), set()).update(labels)
    return found


def _listed() -> dict[str, set[str]]:
    """Metrics of the table, with their labels."""
    rows = [re.fullmatch(r"(\w+)(?:\{(.*)\})?", row) for row in TABLE.splitlines()]
    return {_base(row[1]): set(row[2].split(",")) if row[2] else set() for row in rows if row}


def test_every_metric_is_in_the_table_of_the_page_with_its_labels_and_nothing_else_is(shown):
    table = _listed()
    assert table.keys() == shown.keys()
    for name, labels in table.items():
        assert labels >= shown[name], f"{name} has other labels"


def test_a_rule_names_only_metrics_and_labels_there_are(shown):
    rules = _rules()
    assert len(rules) > 20
    table = _listed()
    for rule in rules:
        for name, labels in _named(str(rule["expr"])).items():
            assert name in shown, f"{rule['alert']}: there is no {name}"
            assert labels - {"le", "instance"} <= table[name], rule["alert"]


def test_the_page_names_every_alarm_with_its_severity_and_no_other():
    alarms = {str(rule["alert"]): str(rule["labels"]["severity"]) for rule in _rules()}
    assert set(re.findall(r"`(Astara[A-Z][A-Za-z]+)`", PAGE)) == alarms.keys()
    for alarm, severity in alarms.items():
        row = next(line for line in PAGE.splitlines() if f"`{alarm}`" in line and ("|" in line or "up{" in line))
        assert severity in row, f"{alarm} is a {severity}"


def test_every_phase_of_a_resource_has_its_alarm_but_those_in_which_all_is_well():
    watched = {
        phase
        for rule in _rules()
        for found in re.findall(r'phase=~"([^"]*)"', str(rule["expr"]))
        for phase in found.split("|")
    }
    assert watched == {phase.value for phase in Phase} - {"configured", "gone"}


needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is not here"
)
_UP = 'up{job="astara",instance="a"}'
_OK, _AWAY = (
    f'astara_neutron_call_seconds_count{{instance="a",call="routers",outcome="{one}"}}' for one in ("ok", "retry")
)
_ENDED = 'astara_reconcile_seconds_count{instance="a",driver="router",phase="configured",outcome="settled"}'
_WORKING, _CRASHES = 'astara_working{instance="a"}', 'astara_crashes_total{instance="a",thread="worker"}'


@needs_promtool
@pytest.mark.parametrize(
    ("alarm", "series", "at", "rings"),
    [
        ("AstaraNeutronAway", {_UP: "1x40", _OK: "0+3x40"}, "10m", False),
        ("AstaraNeutronAway", {_UP: "1x40", _OK: "5x40", _AWAY: "0+3x40"}, "10m", True),
        ("AstaraNeutronAway", {_UP: "1x40", _AWAY: "0+3x40"}, "10m", True),
        ("AstaraNeutronAway", {_UP: "0x40"}, "10m", False),
        ("AstaraWorkersStuck", {_WORKING: "8x48", _ENDED: "0+1x48"}, "12m", False),
        ("AstaraWorkersStuck", {_WORKING: "8x48", _ENDED: "7x48"}, "12m", True),
        ("AstaraWorkersStuck", {_WORKING: "8x48"}, "12m", True),
        ("AstaraCrashes", {_CRASHES: "1x100"}, "25m", False),
        ("AstaraCrashes", {_CRASHES: "1x35 2x5"}, "10m", True),
        ("AstaraCrashes", {_CRASHES: "_x35 1x5"}, "10m", True),
    ],
)
def test_an_alarm_rings_also_when_what_it_counts_has_never_been(tmp_path, alarm, series, at, rings):
    """Prometheus knows no increase of what was not there before."""
    question = {
        "expr": f'count(ALERTS{{alertname="{alarm}",alertstate="firing"}})',
        "eval_time": at,
        "exp_samples": [{"labels": "{}", "value": 1}] if rings else [],
    }
    given = [{"series": name, "values": values} for name, values in series.items()]
    asked = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "15s",
        "tests": [{"interval": "15s", "input_series": given, "promql_expr_test": [question]}],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(asked))
    words = ["promtool", "test", "rules", str(tmp_path / "test.yaml")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_takes_the_rules():
    done = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
