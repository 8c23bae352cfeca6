"""Build the image with buildah on a Debian base made by debootstrap: no Docker engine, no image registry."""

import configparser
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SUITE = "bookworm"
BASE_PACKAGES = ("python3", "python3-venv", "ca-certificates")
BASE_KEPT_DAYS = 30
NOT_NEEDED = (
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
)
# Where pip is told to look for packages; what only makes sense on the host (local folders) is left out.
PIP_OPTIONS = ("index-url", "extra-index-url", "trusted-host", "timeout", "proxy")

# The folder is $0, the user $1; the rest is what to run, after its environment.
READ_ONLY = """
set -e
user=$1; shift
mount --bind "$0" "$0"
mount -o remount,bind,ro "$0"
mount -t tmpfs tmpfs "$0/tmp"
mount -t tmpfs -o "uid=${user%:*},gid=${user#*:},mode=0750" tmpfs "$0/data"
mount --rbind /proc "$0/proc"
mount --rbind /dev "$0/dev"
exec setpriv --no-new-privs chroot --userspec="$user" "$0" env -i "$@"
"""


def run(*words: str | Path, timeout: int = 600) -> str:
    """Run a command; its stdout. RuntimeError with the end of its output if it fails."""
    # debootstrap, and what it calls, lie where on Debian only the PATH of root leads.
    env = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, env=env)
    if done.returncode != 0:
        said = (done.stdout + done.stderr)[-6000:]
        raise RuntimeError(f"{' '.join(map(str, words))}: exit {done.returncode}\n{said}")
    return done.stdout


def base_archive() -> Path:
    """A tar of a minimal Debian with Python, kept in the user's cache folder for a month."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "magnesium-cds"
    archive = cache / f"{SUITE}-{platform.machine()}.tar"
    if archive.exists() and time.time() - archive.stat().st_mtime < BASE_KEPT_DAYS * 86_400:
        return archive
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="magnesium-cds-base-", dir="/var/tmp") as folder:
        root = Path(folder) / "root"
        make = ("debootstrap", "--variant=minbase", f"--include={','.join(BASE_PACKAGES)}", SUITE, root)
        try:
            run(*make)
        except RuntimeError:  # a mirror that failed once: what was downloaded is kept and used again
            run(*make)
        excluded = [f"--exclude=./{name}/*" for name in NOT_NEEDED]
        fresh = archive.with_suffix(f".{os.getpid()}")
        run("tar", "--create", "--numeric-owner", f"--file={fresh}", f"--directory={root}", *excluded, ".")
        fresh.replace(archive)  # whole or not at all
    return archive


def pip_mounts(folder: Path) -> list[str]:
    """Volume options that let pip in the build reach the index which pip on this machine uses."""
    listed = run(sys.executable, "-m", "pip", "config", "list")
    config = configparser.RawConfigParser()
    config["global"] = {"no-color": "true"}
    certificates: Path | None = None
    for line in reversed(listed.splitlines()):  # the environment, listed first, wins
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2]
        value = value.strip("'\"")
        if option == "cert":
            certificates = Path(value)
        remote = " ".join(word for word in value.split() if not word.startswith(("file:", "/", ".")))
        if option in PIP_OPTIONS and remote:
            config["global"][option] = remote
    mounts = []
    if certificates is not None and certificates.exists():
        shutil.copyfile(certificates, folder / "pip-ca.pem")
        config["global"]["cert"] = "/etc/pip-ca.pem"
        mounts += ["--volume", f"{folder / 'pip-ca.pem'}:/etc/pip-ca.pem:ro"]
    with (folder / "pip.conf").open("w") as file:
        config.write(file)
    return [*mounts, "--volume", f"{folder / 'pip.conf'}:/etc/pip.conf:ro"]


class Image:
    """The project's image and one container of it, in a storage folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        storage = (
            "--storage-driver",
            "vfs",
            "--root",
            str(folder / "storage"),
            "--runroot",
            str(folder / "run"),
        )
        self.buildah = ("env", f"TMPDIR={folder}", "buildah", *storage)
        self.name = "localhost/magnesium-cds:test"
        self.container = ""

    def build(self) -> None:
        """Import the base, build docker/Dockerfile on it, start a container from the result."""
        scratch = run(*self.buildah, "from", "scratch").strip()
        run(*self.buildah, "add", scratch, base_archive(), "/")
        run(*self.buildah, "commit", "--quiet", "--rm", scratch, "localhost/base:test")
        bud = (*self.buildah, "bud", "--isolation", "chroot", "--format", "docker", "--pull-never")
        base = ("--build-arg", "BASE=localhost/base:test")
        run(
            *bud,
            *pip_mounts(self.folder),
            *base,
            "--file",
            ROOT / "docker/Dockerfile",
            "--tag",
            self.name,
            ROOT,
        )
        self.container = run(*self.buildah, "from", "--pull-never", self.name).strip()

    def config(self) -> dict[str, Any]:
        """What the image says of itself: User, Entrypoint, Cmd, Healthcheck, Labels, ..."""
        said = json.loads(run(*self.buildah, "inspect", "--type", "image", self.name))
        config: dict[str, Any] = said["Docker"]["config"]
        return config

    def root(self) -> Path:
        """The root folder of the container, on this machine."""
        return Path(run(*self.buildah, "mount", self.container).strip())

    def command(self, *words: str) -> list[str]:
        """The words that run a command in the container, as the user that the image names."""
        return [*self.buildah, "run", "--isolation", "chroot", self.container, "--", *words]

    def read_only_command(self, *words: str) -> list[str]:
        """The words that run a command on the container's files, read-only but for an empty /data and /tmp.

        As the image's user, with its environment and nothing else, unable to gain privileges. The mounts are seen
        by that process only and end with it.
        """
        config = self.config()
        unshared = ("unshare", "--mount", "--propagation", "private", "sh", "-c", READ_ONLY)
        return [*unshared, str(self.root()), config["User"], *config["Env"], *words]


@contextmanager
def built_image() -> Iterator[Image]:
    """The image, built; everything of it is removed from the disk at the end."""
    with tempfile.TemporaryDirectory(prefix="magnesium-cds-image-", dir="/var/tmp") as folder:
        image = Image(Path(folder))
        try:
            image.build()
            yield image
        finally:
            subprocess.run([*image.buildah, "rm", "--all"], capture_output=True)
            subprocess.run([*image.buildah, "rmi", "--all", "--force"], capture_output=True)
