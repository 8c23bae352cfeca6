"""A real nginx with docker/nginx.conf, in front of a service."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.requires import require

CONFIGURATION = Path(__file__).parents[2] / "docker" / "nginx.conf"
KINDS = CONFIGURATION.with_name("nginx")
STARTED_WITHIN = 20.0  # seconds


@contextmanager
def proxy(
    service: str | tuple[str, str], folder: Path, certificates: Path | None = None, **changes: str
) -> Iterator[int]:
    """The port of an nginx that passes on to `service` (host:port, or unix:/path), or to two replicas.

    `certificates`: folder of tls.crt and tls.key; with it the port speaks TLS. `changes` are other values of the
    directives of nginx.conf. Its log is `folder`/nginx.log. Skips the test where there is no nginx.
    """
    nginx = require("nginx", "the proxy in front of the service", "nginx-light")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    text = _replaced(CONFIGURATION, {"/tmp/": f"{folder}/"})
    for name, value in changes.items():
        text, count = re.subn(rf"\b{name} [^;]+;", f"{name} {value};", text)
        assert count == 1, name
    (folder / "nginx.conf").write_text(text)
    if isinstance(service, str):
        upstream = _replaced(KINDS / "one.conf", {"magnesium-cds:8080": service})
    else:
        upstream = _replaced(KINDS / "two.conf", {"replica-1:8080": service[0], "replica-2:8080": service[1]})
    (folder / "upstream.conf").write_text(upstream)
    if certificates is None:
        listen = _replaced(KINDS / "plain.conf", {"listen 8080;": f"listen 127.0.0.1:{port};"})
    else:
        places = {"listen 8443 ssl;": f"listen 127.0.0.1:{port} ssl;", "/certificates/": f"{certificates}/"}
        listen = _replaced(KINDS / "tls.conf", places)
    (folder / "listen.conf").write_text(listen)
    # As root it would give up its rights, and could not enter this folder.
    words = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
    command = [str(nginx), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", words]
    with (folder / "nginx.log").open("wb") as log:
        process = subprocess.Popen([*command, "-e", "stderr"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        end = time.monotonic() + STARTED_WITHIN
        while not _listens(port):
            assert process.poll() is None and time.monotonic() < end, (folder / "nginx.log").read_text()
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _replaced(file: Path, places: dict[str, str]) -> str:
    """The text of a file of nginx with other words in these places, each of which it has."""
    text = file.read_text()
    for place, other in places.items():
        assert place in text, (file, place)
        text = text.replace(place, other)
    return text


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
