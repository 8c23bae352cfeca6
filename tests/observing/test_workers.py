"""`/metrics` of a real service with several workers: sums are right, whoever is killed, and a start is a start."""

from __future__ import annotations

import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.observing.support import Samples, of, scraped
from tests.support.proxy import proxy
from tests.trust.support import DISCOVERY, FEEDBACK, SERVICE, Service, bare_body, running, wait_until
from tests.trust.test_endings import group_is_gone
from tests.trust.test_processes import workers

NAME = SERVICE.rpartition("/")[2]
pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc, as Linux has it")


def calls(service: Service, number: int) -> None:
    def call(_: int) -> int:
        return requests.post(service.url + SERVICE, json=bare_body(), timeout=30).status_code

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(call, range(number))) == {200}


def counted(found: Samples) -> float:
    return of(found, "calls_total", service=NAME, client="dev", status="2xx")


def folders(place: Path) -> list[Path]:
    return sorted(place.glob("magnesium-cds-metrics-*"))


def test_the_sums_of_two_workers_are_right_and_survive_a_killed_one_and_a_restart_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, data = tmp_path / "tmp", tmp_path / "data"
    place.mkdir()
    data.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    with running(data, workers=2) as service:
        calls(service, 30)
        answer = requests.post(service.url + SERVICE, json={"hook": "patient-view"}, timeout=10)
        assert answer.status_code == 400
        item = {"card": "no-card", "outcome": "overridden", "outcomeTimestamp": "2026-11-21T09:30:00Z"}
        assert requests.post(service.url + FEEDBACK, json={"feedback": [item]}, timeout=10).status_code == 200
        used = {path.name for path in folders(place)[0].glob("counter_*.db")}
        found = scraped(service.url)
        assert counted(found) == 30
        assert of(found, "calls_total", service=NAME, status="4xx") == 1
        assert of(found, "call_seconds_count", service=NAME) == 31
        assert of(found, "call_seconds_bucket", service=NAME, le="+Inf") == 31
        assert of(found, "stage_seconds_count", stage="rules") == 30
        assert of(found, "incomplete_calls_total", service=NAME) == 30, "nothing was sent, so something is missing"
        assert of(found, "cards_total", rule="not_evaluated", indicator="info") == 30
        assert of(found, "feedback_total", outcome="overridden") == 1
        assert of(found, "feedback_stored_total", result="unmatched") == 1
        assert of(found, "workers") == 2
        assert of(found, "store_up") == 1
        assert len(used) >= 2, "both workers count"

        for gone in range(1, 4):  # killed workers take none of their counts along, and leave no file behind
            victim = workers(service)[0]
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda v=victim: v not in workers(service) and len(workers(service)) == 2, 20, "not back")  # type: ignore[misc]
            wait_until(lambda: requests.get(service.url + DISCOVERY, timeout=10).ok, 20, "does not answer")
            wait_until(lambda n=gone: of(scraped(service.url), "worker_exits_total") == n, 10, "no exit is told")  # type: ignore[misc]
            assert counted(scraped(service.url)) == 30
        calls(service, 10)
        kept = {path.name.partition("_")[2] for path in folders(place)[0].glob("counter_*.db")}
        assert kept == {"0.db", "1.db", "master.db"}, "a new worker goes on where a killed one ended"
        for path in folders(place)[0].glob("*.db"):
            assert path.stat().st_blocks * 512 >= path.stat().st_size, f"{path.name} has holes"
        found = scraped(service.url)
        assert counted(found) == 40
        assert of(found, "call_seconds_count", service=NAME) == 41
        assert found["process_resident_memory_bytes", ()] > 10_000_000
        assert found["process_cpu_seconds_total", ()] > 0

    assert not folders(place), "the folder goes with the service"
    with running(data, workers=2) as service:
        assert counted(scraped(service.url)) == 0, "nothing of the former run"
        os.kill(service.process.pid, signal.SIGKILL)
        service.process.wait(10)
        left = folders(place)
        assert len(left) == 1, "who is killed cannot tidy up"
        wait_until(lambda: group_is_gone(service.process.pid), 30, "a worker is left")  # it holds the folder
    with running(data, workers=1) as service:
        assert left[0] not in folders(place), "the next start does"
        assert len(folders(place)) == 1
        assert counted(scraped(service.url)) == 0


def test_workers_that_are_replaced_on_a_reload_lose_nothing(tmp_path: Path) -> None:
    with running(tmp_path, workers=2) as service:
        calls(service, 12)
        before = workers(service)
        service.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(workers(service)) == 2 and not set(before) & set(workers(service)), 40, "not replaced")
        wait_until(lambda: of(scraped(service.url), "worker_exits_total") == 2, 10, "no exits are told")
        assert counted(scraped(service.url)) == 12
        calls(service, 4)
        assert counted(scraped(service.url)) == 16


def test_the_folder_is_in_the_data_folder_where_nothing_temporary_can_be_written(tmp_path: Path) -> None:
    from cds_service.metrics import folder

    sealed = tmp_path / "no-such-place"
    made, held = folder._fresh(tmp_path)
    os.close(held)
    assert made.exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder.tempfile, "gettempdir", lambda: str(sealed))
        made, held = folder._fresh(tmp_path)
        os.close(held)
        assert made.parent == tmp_path
        with pytest.raises(folder.NoFolder, match="metrics = off"):
            folder._fresh(None)


def test_with_metrics_off_nothing_is_there(tmp_path: Path) -> None:
    with running(tmp_path, metrics="off") as service:
        assert requests.get(f"{service.url}/metrics", timeout=10).status_code == 404
        calls(service, 1)


def test_a_worker_knows_that_there_is_no_room_for_what_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It then counts nothing: a hole in a mapped file would end it where the disk is full."""
    from prometheus_client import values

    from cds_service.metrics import folder

    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    first, second = object(), object()
    with folder.shared_folder(tmp_path) as made:
        folder.worker_comes(first)
        assert folder.worker_begins(first)
        shutil.rmtree(made)
        folder.worker_comes(second)
        assert not folder.worker_begins(second)


def test_a_process_that_served_goes_on_without_the_folder_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Itself, and what it starts: both would look for it."""
    from prometheus_client import CollectorRegistry, Counter, values

    from cds_service.metrics import folder

    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    with folder.shared_folder(tmp_path) as made:
        assert os.environ["PROMETHEUS_MULTIPROC_DIR"] == str(made)
    assert not made.exists()
    assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ
    registry = CollectorRegistry()
    Counter("afterwards", "Made after the folder went.", registry=registry).inc()
    assert registry.get_sample_value("afterwards_total") == 1


def test_nobody_reads_the_numbers_through_the_proxy_in_front(tmp_path: Path) -> None:
    with running(tmp_path) as service, proxy(f"127.0.0.1:{service.port}", tmp_path) as port:
        assert requests.get(f"http://127.0.0.1:{port}/healthz", timeout=10).status_code == 200
        for path in ("/metrics", "/metrics?x=1", "//metrics", "/./metrics", "/%6detrics"):
            answer = requests.get(f"http://127.0.0.1:{port}{path}", timeout=10)
            assert answer.status_code == 404, path
            assert "magnesium_cds_" not in answer.text
        assert requests.get(f"{service.url}/metrics", timeout=10).status_code == 200
