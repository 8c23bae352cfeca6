"""Compose files, manifests and the systemd unit fit the image, the settings and the proxy that they start."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cds_service import __version__
from cds_service.cli import main
from cds_service.publish.refusals import refusals
from cds_service.settings import PREFIX, Settings, load_settings
from cds_service.trust.clients import parse_clients
from tests.support.requires import require
from tests.support.some import some

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
COMPOSE = {name: yaml.safe_load((DOCKER / name).read_text()) for name in ("compose.yaml", "compose.postgres.yaml")}
MANIFESTS = sorted({*(DOCKER / "kubernetes").glob("*.yaml")} - {DOCKER / "kubernetes/site.yaml"})
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
NGINX = (DOCKER / "nginx.conf").read_text()
Json = dict[str, Any]


def checked(*words: str | Path) -> None:
    done = subprocess.run([sys.executable, "-m", *map(str, words)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def settings_of(environment: Json, file: Path | None = None) -> Settings:
    """What the service makes of it; secret files stand in for those of containers."""
    names = {name for name in environment if name.startswith(PREFIX)}
    assert {name.removeprefix(PREFIX).lower() for name in names} <= set(Settings.model_fields)
    given = {name: str(environment[name]) for name in names if not name.endswith(("_DATABASE_FILE", "_PASSWORD_FILE"))}
    return load_settings({}, file, given)


def options(words: list[str]) -> Json:
    """--name value pairs after `serve`."""
    assert words[0] == "serve"
    return dict(zip((word.removeprefix("--") for word in words[1::2]), words[2::2], strict=True))


def served_by_image(words: list[str]) -> None:
    """The command line takes these words."""
    said = CliRunner().invoke(main, ["serve", "--help"]).output
    assert all(f"--{name}" in said for name in options(words))


# Compose.


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_file_follows_the_schema(name: str) -> None:
    checked("check_jsonschema", "--builtin-schema", "vendor.compose-spec", DOCKER / name)


@pytest.mark.parametrize("name", COMPOSE)
def test_every_container_has_the_least_it_needs_and_only_the_proxy_is_reached(name: str) -> None:
    for key, one in some(COMPOSE[name]["services"].items()):
        assert one["read_only"] is True, key
        assert one["cap_drop"] == ["ALL"], key
        assert one["security_opt"] == ["no-new-privileges:true"], key
        assert one.get("cap_add", []) == (["CHOWN"] if key == "certificate" else []), key
        assert ("ports" in one) == (key == "proxy"), "nobody passes the proxy by"
        assert one.get("network_mode") == "none" or "inside" in one["networks"], key
        assert "user" not in one or key == "certificate" or not one["user"].startswith("0"), key
    assert COMPOSE[name]["services"]["proxy"]["ports"] == ["${MAGNESIUM_PORT:-127.0.0.1:8443}:8443"]
    assert COMPOSE[name]["networks"]["inside"]["internal"] is True


@pytest.mark.parametrize("name", COMPOSE)
def test_every_file_folder_secret_and_image_of_a_compose_file_is_there(name: str) -> None:
    document = COMPOSE[name]
    for key, one in some(document["services"].items()):
        for mount in one.get("volumes", []):
            place, inside = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", mount).split(":")[:2]
            assert inside.startswith("/"), mount
            assert (DOCKER / place).exists() if place.startswith("./") else place in document["volumes"], (key, mount)
        assert {*one.get("depends_on", {})} <= {*document["services"]}
        assert {*one.get("secrets", [])} <= {*document.get("secrets", {})}
        assert one["image"] in {"nginx:1.28", "postgres:17", f"magnesium-cds:{__version__}"}


@pytest.mark.parametrize("name", COMPOSE)
def test_services_of_a_compose_file_start_with_the_settings_beside_it(name: str, tmp_path: Path) -> None:
    services = COMPOSE[name]["services"]
    ours = {key: one for key, one in services.items() if one["image"].startswith("magnesium") and "command" in one}
    places = set()
    for key, one in some(ours.items()):
        served_by_image(one["command"])
        given = options(one["command"])
        settings = settings_of(one["environment"], DOCKER / "config" / Path(given["settings"]).name)
        assert settings.trusted_network
        assert settings.trusted_proxies == 1
        assert settings.key_file is not None
        assert f"EXPOSE {given['port']}" in DOCKERFILE
        places.add(f"server {key}:{given['port']}")
        assert settings.key_file.as_posix() in (
            "/keys/magnesium-cds.key", *(f"/run/secrets/{secret}" for secret in one.get("secrets", []))
        )  # fmt: skip
        stops = int(one["stop_grace_period"].removesuffix("s"))
        assert stops > 20, "gunicorn gives its last calls twenty seconds"
    (upstream,) = (mount.split(":")[0] for mount in services["proxy"]["volumes"] if "upstream.conf" in mount)
    assert set(re.findall(r"^server [^ ;]+", (DOCKER / upstream).read_text(), re.MULTILINE)) == places
    assert len({one["environment"]["MAGNESIUM_CDS_KEY_FILE"] for one in ours.values()}) == 1
    assert len({str(one["networks"]["inside"]) for one in ours.values()}) == len(ours), "each has its own address"


def test_secrets_of_the_compose_file_are_made_once_and_differ(tmp_path: Path) -> None:
    folder, states = tmp_path / "secrets", []
    for _ in range(2):
        subprocess.run(["sh", DOCKER / "make-secrets.sh", folder], check=True, capture_output=True)
        states.append({path.name: path.read_text() for path in folder.iterdir()})
    made, again = states
    assert made == again
    assert set(made) == set(COMPOSE["compose.postgres.yaml"]["secrets"])
    assert all(re.fullmatch("[0-9a-f]{64}", text) for text in made.values())
    assert len(set(made.values())) == 2
    assert folder.stat().st_mode & 0o077 == 0


# Kubernetes.


def documents() -> Iterator[Json]:
    for file in MANIFESTS:
        yield from yaml.safe_load_all(file.read_text())


def one_of(kind: str) -> Json:
    (found,) = (document for document in documents() if document["kind"] == kind)
    return found


def test_manifests_follow_the_schema() -> None:
    code = "from kubernetes_validate.__main__ import main; main()"
    words = [sys.executable, "-c", code, "--strict", *map(str, MANIFESTS)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_kustomization_names_every_manifest_and_files_that_are_there() -> None:
    listed = yaml.safe_load((DOCKER / "kustomization.yaml").read_text())
    assert {DOCKER / name for name in listed["resources"]} == {
        file for file in MANIFESTS if file.name != "secrets.example.yaml"
    }
    held = {}
    for generated in listed["configMapGenerator"]:
        files = [name.rpartition("=") for name in generated["files"]]
        assert all((DOCKER / path).is_file() for _, _, path in files)
        held[generated["name"]] = {name or Path(path).name for name, _, path in files}
    pod = one_of("Deployment")["spec"]["template"]["spec"]
    used = {v["configMap"]["name"]: v["name"] for v in pod["volumes"] if "configMap" in v}
    assert set(used) == set(held)
    mounts = [mount for container in pod["containers"] for mount in container["volumeMounts"]]
    proxys = {mount["subPath"] for mount in mounts if mount["name"] == used["magnesium-cds-proxy"]}
    assert proxys == held["magnesium-cds-proxy"]
    assert {f"include {name};" in NGINX for name in proxys - {"nginx.conf"}} == {True}
    assert listed["images"] == [{"name": "magnesium-cds", "newTag": __version__}]


def test_pod_starts_with_its_settings_and_the_proxy_reaches_it() -> None:
    pod = one_of("Deployment")["spec"]["template"]["spec"]
    service, proxy = pod["containers"]
    served_by_image(service["args"])
    given = options(service["args"])
    environment = {item["name"]: item.get("value", "") for item in service["env"]}
    settings = settings_of(environment, DOCKER / "kubernetes" / Path(given["settings"]).name)
    assert settings.model_copy(update={"host": given["host"]}).at_home, "so profile production starts"
    assert (settings.profile, settings.trusted_proxies) == ("production", 1)
    assert f"server {given['host']}:{given['port']};" in (DOCKER / "nginx/beside.conf").read_text()
    assert parse_clients((DOCKER / "kubernetes/clients.toml").read_text(), DOCKER / "clients.toml")
    assert CliRunner().invoke(main, ["site", "validate", str(DOCKER / "kubernetes/site.yaml")]).exit_code == 0
    secrets = {doc["metadata"]["name"]: doc["stringData"] for doc in documents() if doc["kind"] == "Secret"}
    for value in (environment["MAGNESIUM_CDS_KEY_FILE"], environment["MAGNESIUM_CDS_DATABASE_FILE"]):
        assert Path(value).name in secrets["magnesium-cds"]
    for name in re.findall(r"/certificates/(\S+);", (DOCKER / "nginx/tls.conf").read_text()):
        assert name in secrets["magnesium-cds-tls"]
    assert {text for held in secrets.values() for text in held.values()} == {""}, "no secret is in the project"
    (port,) = proxy["ports"]
    assert f"listen {port['containerPort']} ssl;" in (DOCKER / "nginx/tls.conf").read_text()
    assert one_of("Service")["spec"]["ports"][0]["targetPort"] == port["name"]
    for probe in ("startupProbe", "livenessProbe"):
        code = service[probe]["exec"]["command"][-1]
        assert f"'{given['host']}', {given['port']}" in code
        compile(code, probe, "exec")
    assert proxy["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_pod_is_closed_and_ends_without_losing_calls() -> None:
    deployment = one_of("Deployment")["spec"]
    pod = deployment["template"]["spec"]
    assert pod["enableServiceLinks"] is False, "a Service named magnesium-cds would set MAGNESIUM_CDS_PORT"
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert f"useradd --uid {pod['securityContext']['fsGroup']}" in DOCKERFILE
    waits = []
    for container in pod["containers"]:
        closed = container["securityContext"]
        assert closed["readOnlyRootFilesystem"] is True
        assert closed["allowPrivilegeEscalation"] is False
        assert closed["capabilities"] == {"drop": ["ALL"]}
        assert closed["runAsUser"] > 0
        assert container["resources"]["limits"]["memory"]
        waits.append(int(container["lifecycle"]["preStop"]["exec"]["command"][1]))
    assert waits[0] > waits[1], "the service outlives the proxy"
    assert pod["terminationGracePeriodSeconds"] > max(waits) + 20
    assert deployment["replicas"] > one_of("PodDisruptionBudget")["spec"]["minAvailable"]
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    labels = deployment["template"]["metadata"]["labels"]
    assert one_of("Service")["spec"]["selector"] == labels
    assert one_of("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert one_of("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels


# systemd.


def test_unit_of_systemd_is_valid_and_hardened() -> None:
    program = require("systemd-analyze", "checks the unit", "systemd")
    unit = DOCKER / "systemd/magnesium-cds.service"
    words = [program, "verify", "--man=no", unit]
    told = subprocess.run(words, capture_output=True, text=True, timeout=60).stderr.splitlines()
    # The program is not installed at its place where the tests run; what else is told is a fault of the unit.
    assert [line for line in told if "is not executable" not in line] == []
    words = [program, "security", "--offline=true", "--no-pager", "--threshold=15", unit]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    text = unit.read_text()
    (line,) = re.findall(r"^ExecStart=\S+ (.*)$", text, re.MULTILINE)
    served_by_image(line.split())
    given = options(line.split())
    assert f"server {given['host']}:{given['port']};" in (DOCKER / "nginx/beside.conf").read_text()
    environment = dict(pair.split("=", 1) for pair in re.findall(r"MAGNESIUM_CDS_\w+=\S+", text))
    assert settings_of(environment).trusted_proxies == 1


# The lock files of the image.


def locked(name: str) -> dict[str, str]:
    """Name -> version; each has a hash, and nothing says where it comes from."""
    text = (DOCKER / name).read_text()
    found = dict(re.findall(r"^([a-z0-9-]+)==(\S+) \\$", text, re.MULTILINE))
    blocks = re.split(r"^(?=[a-z0-9-]+==)", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(found) > 0
    assert all("--hash=sha256:" in block for block in blocks)
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links|--trusted-host", text)
    return found


def test_lock_file_agrees_with_the_pins_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = [
        *project["dependencies"],
        *(pin for extra in ("postgres", "oidc") for pin in project["optional-dependencies"][extra]),
    ]
    found = locked("requirements.lock")
    told = {canonicalize_name(pin.name): str(pin.specifier) for pin in map(Requirement, pins)}
    assert {name: f"=={found.get(name)}" for name in told} == told, "renew it: sh docker/lock.sh"
    tools = {
        pin.name: str(pin.specifier)
        for pin in map(Requirement, some((DOCKER / "tools.in").read_text().splitlines()[1:]))
    }
    assert {name: f"=={locked('tools.lock').get(name)}" for name in tools} == tools, "renew it: sh docker/lock.sh"


def test_image_installs_nothing_that_has_no_hash() -> None:
    installs = re.findall(r"pip (?:--python \S+ )?(?:install|wheel) (.*)", DOCKERFILE)
    assert len(installs) == 4
    assert all("--require-hashes" in words or "--no-index" in words for words in installs)


def test_the_proxy_refuses_with_codes_of_the_catalogue() -> None:
    told = re.search(r"map \$status \$refusal \{(.*?)\}", NGINX, re.DOTALL)
    assert told is not None
    codes = dict(re.findall(r"(\d{3}|default) ([a-z-]+);", told[1]))
    known = refusals()
    assert {code for code, refusal in known.items() if refusal.by == "proxy"} <= set(codes.values())
    assert codes.pop("default") in known
    assert [status for status, code in codes.items() if int(status) not in known[code].status] == []
