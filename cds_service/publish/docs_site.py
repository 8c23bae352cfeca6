"""The docs as a site: where their pages lie, where the site is built, and what a browser may run of it."""

from __future__ import annotations

import errno
import hashlib
import html
import json
import os
import re
import subprocess
import sys
import tempfile
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cds_service.content.library import default_root

MARK: Final = "made-from.json"
SCRIPT: Final = re.compile(r"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL)
STYLE: Final = re.compile(r"<style[^>]*>(.*?)</style>", re.DOTALL)
STYLE_ATTRIBUTE: Final = re.compile(r"<[a-z][^>]*\sstyle=\"([^\"]*)\"")


class DocsError(Exception):
    """The site could not be built; the text says why."""


@dataclass(frozen=True)
class Site:
    """A site that was built of the pages that ship, and the policy under which browsers show it."""

    folder: Path
    policy: str


def pages_folder() -> Path | None:
    """The Markdown pages: beside `cards` in a checkout, and in the package. None where they were left out."""
    folder = default_root().parent / "docs"
    return folder if (folder / "index.md").is_file() else None


def site_folder() -> Path:
    """Where a site is built unless it is said: in the environment of this Python, which goes with it."""
    return Path(sys.prefix) / "share" / "magnesium-cds" / "docs"


def digest(pages: Path) -> str:
    """Of all that a site is made from."""
    found = hashlib.sha256()
    for file in sorted([*pages.rglob("*.md"), pages / "conf.py"]):
        found.update(f"{file.relative_to(pages).as_posix()}\0".encode() + file.read_bytes())
    return found.hexdigest()


def build(pages: Path, out: Path) -> int:
    """Make the site in `out`, in the place of an older one. The number of its pages. Raises DocsError, OSError.

    A folder that holds anything else is left as it is. The work is done beside `out`, on its disk: the older site stays
    until the new one is whole.
    """
    if out.exists() and any(out.iterdir()) and not (out / MARK).exists():
        raise DocsError(f"{out} holds something else: name an empty folder with --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as work:
        made = Path(work) / "site"
        words = ["-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", f"{work}/doctrees"]
        command = [sys.executable, *words, str(pages), str(made)]
        here = {**os.environ, "TMPDIR": work}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=here)  # noqa: S603
        if "No module named sphinx" in done.stderr:
            raise DocsError("Sphinx is not installed here: pip install '.[docs]'")
        for number in (errno.ENOSPC, errno.EDQUOT):
            if f"[Errno {number}]" in done.stderr:
                raise OSError(number, os.strerror(number))
        if done.returncode:
            raise DocsError(done.stderr.strip() or done.stdout.strip())
        files = sorted(made.rglob("*.html"))
        mark = {"made_from": digest(pages), "policy": policy_of(file.read_text("utf-8") for file in files)}
        (made / MARK).write_text(json.dumps(mark, indent=1) + "\n")
        if out.exists():
            out.rename(Path(work) / "before")
        made.rename(out)
    return len(files)


def site() -> Site | None:
    """The site that was built here, if it is of the pages that ship."""
    folder, pages = site_folder(), pages_folder()
    try:
        mark = json.loads((folder / MARK).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return Site(folder, mark["policy"]) if pages and mark["made_from"] == digest(pages) else None


def policy_of(pages: Iterable[str]) -> str:
    """The Content-Security-Policy that lets these pages run what they hold, by its hash, and nothing else."""
    scripts: set[str] = set()
    styles: set[str] = set()
    for text in pages:
        scripts |= {_hash(part) for part in SCRIPT.findall(text)}
        styles |= {_hash(part) for part in STYLE.findall(text)}
        styles |= {_hash(html.unescape(part)) for part in STYLE_ATTRIBUTE.findall(text)}
    return "; ".join([
        "default-src 'none'",
        " ".join(["script-src 'self'", *sorted(scripts)]),
        " ".join(["style-src 'self' 'unsafe-hashes'", *sorted(styles)]),  # hashes of style="..." too
        "img-src 'self' data:",  # the icons of the theme
        "connect-src 'self'",  # the search reads the pages that it found
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ])  # fmt: skip


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
