"""Commands that serve: demo, serve, sandbox."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import click

from cds_service import create_app
from cds_service.advice.loaded_content import load_content
from cds_service.commands.common import (
    CANNOT_CREATE,
    FILE,
    FOLDER,
    UNAVAILABLE,
    USAGE,
    serving_options,
    settings_of,
    stop,
)
from cds_service.loading import uncollected
from cds_service.logs import configure
from cds_service.metrics.folder import NoFolder, in_use, shared_folder
from cds_service.metrics.instruments import switch_off
from cds_service.sandbox.asking import hook_request
from cds_service.settings import UNIX, Settings, SettingsError
from cds_service.store import Store
from cds_service.trust.clients import clients_file, load_clients
from cds_service.trust.gatekeeper import own_bases

if TYPE_CHECKING:
    from rich.console import Console

# What only `demo` and `sandbox` need is imported there: `serve` starts without it.
__all__ = ["demo", "hook_request", "sandbox", "serve"]

READY_SECONDS = 60.0
STOPS = {signal.SIGINT, signal.SIGTERM}
NEXT = """\
Where to look next
  Try your own   {base}/    (paste a request or a Bundle, or type a few facts)
  Evidence       {base}/evidence
  Discovery      {base}/cds-services    (for an EHR)
{docs}  In another terminal{activate}:
    magnesium-cds demo --all         the other sample patients
    magnesium-cds evaluate FILE      a hook request, or a FHIR Bundle of one patient
    magnesium-cds sandbox            the same patients in the CDS Hooks Sandbox"""


@click.command()
@serving_options
def serve(**flags: Any) -> None:
    """Serve CDS Hooks until stopped."""
    settings = settings_of(flags)
    nowhere = settings.data_dir is None and settings.database is None
    if nowhere and not settings.dev:
        raise SettingsError(
            "profile production needs data_dir or database: what is kept would go when the service ends"
        )
    with data_folder(settings.data_dir, "") as folder, ended_at_once(folder if settings.data_dir is None else None):
        if settings.data_dir is None:
            settings = settings.model_copy(update={"data_dir": folder})
        if nowhere:
            click.echo(f"No --data-dir: the database is in {folder}, and goes when the service ends.", err=True)
        try:
            with shared_folder(settings.data_dir) if settings.metrics == "on" else nullcontext():
                _serve(settings)
        except NoFolder as error:
            stop(CANNOT_CREATE, str(error))


def _serve(settings: Settings) -> None:
    _check_address(settings)
    if settings.metrics == "off":
        switch_off()
    # One process first: faults are told once and plainly, and the database is made before workers share it.
    with uncollected():
        content, declared = load_content(cards=settings.cards), load_clients(settings)
        app = create_app(settings, content=content, clients=declared)
    with app.extensions["advisor"].store as store:
        code = _first_code(store) if settings.console else None
    if settings.dev:
        tokens = "no client token is asked for" if not declared else "calls need the token of a client"
        click.echo(f"DEVELOPMENT PROFILE: {tokens}. Not for clinical use.", err=True)
    for client in declared:
        told = ", ".join(client.audiences) or f"the address called, below {' or '.join(own_bases(settings))}"
        click.echo(f"Client {client.name}: tokens of {client.issuer} for {told}", err=True)
    where = settings.bind if settings.host.startswith(UNIX) else f"http://{settings.bind}/cds-services"
    if settings.console:
        address = f"{settings.console_base or f'http://{settings.bind}'}{settings.console_path}"
        click.echo(f"Console: {address}", err=True)
        if code:
            click.echo(f"It has no admin yet. Make one at {address}/first-run with this code: {code}", err=True)
    click.echo(f"Serving on {where}", err=True)
    with uncollected():
        from cds_service.serving import serve as run

    run(settings, content, declared)


def _first_code(store: Store) -> str | None:
    """Printed once: what the database keeps of it is a hash."""
    from cds_service.console.sign_in import first_code

    configure("WARNING")
    return first_code(store, datetime.now(UTC))


@contextmanager
def data_folder(given: Path | None, kind: str) -> Iterator[Path]:
    """The folder given, or a temporary one, which the process that made it takes away at the end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that it ends as on Ctrl-C
    if given is not None:
        yield given
        return
    # A signal that comes while the folder is made waits until it is sure to be taken away.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    folder, maker = Path(tempfile.mkdtemp(prefix=f"magnesium-cds-{kind}")), os.getpid()
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        yield folder
    finally:
        if os.getpid() == maker:  # and no worker, which is a copy of this process
            before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C does not leave half of it
            shutil.rmtree(folder, ignore_errors=True)
            signal.signal(signal.SIGINT, before)


@contextmanager
def ended_at_once(folder: Path | None) -> Iterator[None]:
    """Until gunicorn listens to signals, they end the process and take the folder away.

    Nothing is raised for them, since what is raised while the collector works is lost.
    """

    def end(number: int, _: object) -> None:
        for temporary in (folder, in_use()):
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)
        os._exit(128 + number)

    names = [name for name in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(name) is not signal.SIG_IGN]
    before = {name: signal.signal(name, end) for name in names}
    yield
    for name, handler in before.items():
        signal.signal(name, handler)


def _check_address(settings: Settings) -> None:
    """Exits with the reason where this address cannot be listened on."""
    path = Path(settings.host.removeprefix(UNIX))
    try:
        if settings.host.startswith(UNIX):
            if path.exists() and not path.is_socket():
                raise FileExistsError(errno.EEXIST, "there is a file of this name")
            with socket.socket(socket.AF_UNIX) as probe, suppress(FileNotFoundError, ConnectionRefusedError):
                probe.connect(str(path))
                raise OSError(errno.EADDRINUSE, "another program listens there")
            with tempfile.TemporaryFile(dir=path.parent):
                pass
        else:
            with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((settings.host, settings.port))
    except OSError as error:
        place = path if settings.host.startswith(UNIX) else f"{settings.host} port {settings.port}"
        stop(UNAVAILABLE, f"Cannot listen on {place}: {error.strerror or error}. Try another --host or --port.")


def free_port(host: str, wanted: int | None) -> int:
    """`wanted` if it is free, else any free port."""
    for port in (wanted or 8000, 0):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return stop(UNAVAILABLE, f"No port is free on {host}.")


@contextmanager
def serving(
    host: str, port: int, folder: Path, *more: str, temporary: bool, **settings: str
) -> Iterator[subprocess.Popen[bytes]]:
    """This program serving in a child process, ready when entered, ended when left. `more`: options of serve;
    `settings`: by the names that they have in the environment.

    A signal ends both at once and takes a temporary folder away. Nothing is raised for it: what is raised while the
    collector works is lost.
    """
    arguments = ["--host", host, "--port", str(port), "--data-dir", str(folder), "--workers", "1", *more]
    # -P: the installed package, not a checkout that happens to be the current folder.
    command = [sys.executable, "-P", "-m", "cds_service", "serve", *arguments]
    instance = secrets.token_hex(8)
    environment = {**os.environ, "MAGNESIUM_CDS_LOG_LEVEL": "WARNING", "MAGNESIUM_CDS_INSTANCE": instance, **settings}

    def deaf() -> None:  # Ctrl-C also reaches the child, and Python would tell of it while it starts
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)

    def end(number: int, _: object) -> None:
        for each in STOPS:
            signal.signal(each, signal.SIG_IGN)
        _end(child)
        if temporary:
            shutil.rmtree(folder, ignore_errors=True)
        os.write(sys.stderr.fileno(), b"Stopped.\n")
        os._exit(128 + number)

    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        child = subprocess.Popen(command, env=environment, preexec_fn=deaf)  # noqa: S603
        names = [name for name in STOPS if signal.getsignal(name) is not signal.SIG_IGN]
        before = {name: signal.signal(name, end) for name in names}
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    try:
        _wait_ready(child, f"http://{host}:{port}", instance)
        yield child
    finally:
        _end(child)
        for name, handler in before.items():
            signal.signal(name, handler)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Asks a child to end, and makes it after some seconds. Without the locks of `subprocess`: a signal may come while
    they are held."""
    if child.returncode is not None:
        return
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(child.pid, signal.SIGINT)  # gunicorn ends at once
        os.kill(child.pid, signal.SIGTERM)  # what comes before gunicorn, too
        limit = monotonic() + 5
        while not os.waitpid(child.pid, os.WNOHANG)[0]:
            if monotonic() > limit:  # a signal came while it was being made; its workers end after it
                os.kill(child.pid, signal.SIGKILL)
                os.waitpid(child.pid, 0)
                break
            sleep(0.05)


def _wait_ready(child: subprocess.Popen[bytes], base: str, instance: str) -> None:
    """Until the child itself answers: another program may have taken the port in between."""
    import requests

    end = monotonic() + READY_SECONDS
    while monotonic() < end:
        if child.poll() is not None:
            stop(child.returncode or UNAVAILABLE, "The service did not start; see above.")
        try:
            if requests.get(f"{base}/readyz", timeout=2).json().get("instance") == instance:
                return
        except (requests.RequestException, ValueError, AttributeError):
            sleep(0.1)
    stop(UNAVAILABLE, f"The service was not ready within {READY_SECONDS:.0f} s; is its port taken? Try --port.")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), help="Port (default 8000, or a free one).")
@click.option("--data-dir", type=FOLDER, help="Default: a temporary folder.")
@click.option("--site", type=FILE, help="Site values to try.")
@click.option("--all", "everybody", is_flag=True, help="All sample patients on every hook, not the three best.")
@click.option("--once", is_flag=True, help="Print the cards and end, instead of keeping on serving.")
def demo(host: str, port: int | None, data_dir: Path | None, site: Path | None, everybody: bool, once: bool) -> None:
    """Start on sample patients, show their cards, and keep serving."""
    port = free_port(host, port)
    base = f"http://{host}:{port}"
    settings = settings_of({"data_dir": data_dir})
    if load_clients(settings):
        file = clients_file(settings)
        stop(USAGE, f"{file} declares clients, and the demo calls without a token: take another --data-dir.")
    from rich.console import Console

    console = Console(soft_wrap=False, highlight=False)
    own_site = ["--site", str(site)] if site else []
    temporary = data_dir is None
    with (
        data_folder(data_dir, "demo-") as folder,
        serving(host, port, folder, *own_site, temporary=temporary) as child,
    ):
        show_samples(console, base, everybody)
        docs = f"  Docs           {base}/docs\n" if _opens(f"{base}/docs/") else ""
        console.print(NEXT.format(base=base, docs=docs, activate=before_commands()), markup=False, soft_wrap=True)
        if once:
            return
        goes = ", and goes with it" if temporary else ""
        console.print(f"Serving until Ctrl-C; the database is in {folder}{goes}")
        sys.stdout.flush()
        child.wait()


def show_samples(console: Console, base: str, everybody: bool = False) -> None:
    """Post hooks for sample patients, as an EHR would, and print the answers: one card of each of three patients, or of
    `everybody` on every hook that has something to say. Below each, where it can be tried."""
    import requests

    from cds_service.commands.evaluate import print_cards
    from cds_service.sandbox import patients

    now = datetime.now(UTC)
    services = {item["hook"]: item for item in requests.get(f"{base}/cds-services", timeout=10).json()["services"]}
    every = patients.load()
    shown = (
        [(name, hook, "") for name, one in every.items() for hook in services if hook == "patient-view" or one.drafts]
        if everybody
        else patients.FEATURED
    )
    for name, hook, draft in shown:
        sample, drafts = every[name], [draft] if draft else []
        answer = call(base, services[hook], hook_request(sample, hook, services[hook]["prefetch"], now, *drafts))
        print_cards(console, f"{sample.title} ({hook})", answer)
        place = urlencode({"sample": name, "hook": hook, **({"draft": draft} if draft else {})})
        console.print(f"In the browser: {base}/try?{place}\n", markup=False, soft_wrap=True)


def before_commands() -> str:
    """What is to be typed before the commands of this project work in a new terminal, as " (first: ...)"; "" where
    they are on the path already."""
    found, here = shutil.which("magnesium-cds"), Path(sys.executable).parent
    if found and Path(found).parent in (here, Path(sys.argv[0]).parent.absolute()):
        return ""
    activate = here / "activate"
    if not activate.exists():
        return " (first: pipx ensurepath, or the full path of magnesium-cds)"
    with suppress(ValueError):
        activate = activate.relative_to(Path.cwd())
    return f" (first: . {activate})"


def _opens(url: str) -> bool:
    import requests

    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


def call(base: str, service: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """POST a hook request; a refusal ends the command with the words of the OperationOutcome."""
    import requests

    response = requests.post(f"{base}/cds-services/{service['id']}", json=body, timeout=30)
    answer: dict[str, Any] = response.json()
    if not response.ok:
        stop(1, *[issue["details"]["text"] for issue in answer.get("issue", [])])
    return answer


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the CDS service (default 8000, or a free one).")
@click.option(
    "--fhir-port", type=click.IntRange(0, 65535), default=0, help="Port of the FHIR stub (default: a free one)."
)
@click.option("--data-dir", type=FOLDER, help="Default: a temporary folder.")
def sandbox(host: str, port: int | None, fhir_port: int, data_dir: Path | None) -> None:
    """Serve sample patients as a FHIR R4 server beside the service, for the CDS Hooks Sandbox."""
    from cds_service.sandbox.stub import run as run_stub

    port = free_port(host, port)
    fhir_port = fhir_port or free_port(host, 8090)
    fhir = f"http://{host}:{fhir_port}/fhir"
    with (
        data_folder(data_dir, "sandbox-") as folder,
        serving(
            host, port, folder, "--fhir-server", fhir, "--dev-preset", "sandbox", temporary=data_dir is None,
            MAGNESIUM_CDS_ACCEPTED_RESTS_MINUTES="0",  # what was taken once comes again: others try the same patient
        ),
    ):  # fmt: skip
        if first := before_commands():
            click.echo(f"In another terminal{first}: magnesium-cds evaluate FILE")
        run_stub(host, fhir_port, f"http://{host}:{port}/cds-services", echo=click.echo)
