"""Prometheus itself reads the alert rules and the bridge, as infra/monitoring says."""

import json
import shutil
import subprocess
import urllib.parse
import urllib.request

import pytest
import yaml

from flows.local.embedded_server import free_port
from tests.infra.test_monitoring import MONITORING, QUERIES
from tests.real_servers import processes
from tests.waiting import wait_for

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("promtool") is None, reason="no Prometheus: run infra/local/packages"),
]


@pytest.mark.parametrize(
    "words",
    [
        ("check", "rules", "alerts.yaml"),
        ("check", "config", "prometheus.yaml"),
        ("test", "rules", "alerts_test.yaml"),
    ],
    ids=" ".join,
)
def test_the_files_are_what_prometheus_accepts_and_each_alert_fires_where_it_should(words):
    done = subprocess.run(["promtool", *words], cwd=MONITORING, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.xdist_group("integration of operations")
@pytest.mark.timeout(300)
def test_the_queries_find_the_figures_of_a_bridge_that_runs(site, tmp_path):
    config = yaml.safe_load((MONITORING / "prometheus.yaml").read_text(encoding="utf-8"))
    (job,) = config["scrape_configs"]
    job["static_configs"][0]["targets"] = [site.variables["AUTOCAST_BRIDGE_URL"].split("/")[2]]
    config["global"]["scrape_interval"] = "3s"
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    shutil.copy(MONITORING / "alerts.yaml", tmp_path)
    port = free_port()
    server = f"http://127.0.0.1:{port}"
    options = [f"--config.file={tmp_path / 'prometheus.yaml'}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    command = ["prometheus", *options, f"--web.listen-address=127.0.0.1:{port}"]
    site.start(processes.Process("prometheus", command, lambda: processes.answers(f"{server}/-/ready")))
    try:
        wait_for(lambda: found(server, 'up{job="autocast"} == 1'), 60, "the first figures")
        wait_for(lambda: found(server, 'autocast_pool_ready{pool="autocast-cpu"} == 1'), 60, "the pool's worker")
        for query in QUERIES:
            found(server, query)
    finally:
        site.stop("prometheus")


def found(server, query):
    """What Prometheus answers to a query, Grafana's variable in its place."""
    text = urllib.parse.quote(query.replace("$__rate_interval", "1m"))
    with urllib.request.urlopen(f"{server}/api/v1/query?query={text}") as answer:
        said = json.loads(answer.read())
    assert said["status"] == "success", query
    return said["data"]["result"]
