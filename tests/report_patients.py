"""Every patient file through the service over HTTP: what was said, and what the data lacked.

`python tests/report_patients.py [--measured] [FOLDER]` writes the tables to stdout. FOLDER holds FHIR Bundles of one
patient each (.json or .json.gz, at any depth); without it, and without the folder `shared/patients` beside the project,
the bundled sample patients are used. With `--measured` every second patient who has no magnesium result is given a
normal magnesium and eGFR of a month ago: synthetic patients have few results, hospital patients have them. Run on
patient-view, and on order-select with a draft of magnesium oxide 400 mg, each patient on the day after the newest entry
of the file: results are then as old as they were in the clinic.
"""

from __future__ import annotations

import gzip
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import structlog
from flask.testing import FlaskClient

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # a script's own folder comes first, and tests/fhir would hide the package fhir

from cds_service import create_app  # noqa: E402
from cds_service.advice.one_bundle import hook_request  # noqa: E402
from cds_service.fhir import Need  # noqa: E402
from cds_service.sandbox import patients  # noqa: E402
from cds_service.settings import Settings  # noqa: E402

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
PATIENTS = ROOT.parent / "shared" / "patients"
HOOKS = ("patient-view", "order-select")
EXTENSION = "org.magnesium-cds"
CLINIC_DAY = 25  # patients seen in a full day
INDICATORS = ("critical", "warning", "info")
# Code, unit, value, and the laboratory's own range.
MEASURED = (("2601-3", "mmol/L", 0.85, 0.7, 1.0), ("98979-8", "mL/min/{1.73_m2}", 95, 60, 130))
Bundle = dict[str, Any]


def patient_files(folder: Path = PATIENTS) -> list[Path]:
    """Every patient file, or none."""
    return sorted(path for path in folder.rglob("*") if path.name.endswith((".json", ".json.gz")))


def bundles(folder: Path = PATIENTS) -> Iterator[tuple[str, Bundle]]:
    """Name and Bundle of every patient: those of the folder, else the bundled samples."""
    files = patient_files(folder)
    for path in files:
        raw = path.read_bytes()
        yield path.name.split(".json")[0], orjson.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    if not files:
        for name, sample in patients.load().items():
            yield name, sample.bundle(NOW)


def magnesium_oxide(patient: str) -> Bundle:
    """A draft of magnesium oxide 400 mg, one capsule a day."""
    text = "Magnesium Oxide 400 MG Oral Capsule"
    coding = {"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "252430", "display": text}
    repeat = {"frequency": 1, "period": 1, "periodUnit": "d"}
    quantity = {"value": 1, "unit": "capsule", "system": "http://unitsofmeasure.org", "code": "{capsule}"}
    return {
        "resourceType": "MedicationRequest",
        "id": "draft-magnesium-oxide",
        "status": "draft",
        "intent": "order",
        "medicationCodeableConcept": {"coding": [coding], "text": text},
        "subject": {"reference": f"Patient/{patient}"},
        "dosageInstruction": [{"timing": {"repeat": repeat}, "doseAndRate": [{"doseQuantity": quantity}]}],
    }


def with_draft(bundle: Bundle) -> Bundle:
    """The Bundle with the draft in it."""
    resources = [entry["resource"] for entry in bundle["entry"]]
    patient = next(resource["id"] for resource in resources if resource["resourceType"] == "Patient")
    return bundle | {"entry": [*bundle["entry"], {"resource": magnesium_oxide(patient)}]}


def measured(bundle: Bundle) -> Bundle:
    """The Bundle with a normal magnesium and eGFR of a month ago, unless it holds a magnesium result."""
    resources = [entry["resource"] for entry in bundle["entry"]]
    codes = {coding.get("code") for resource in resources for coding in resource.get("code", {}).get("coding", [])}
    if MEASURED[0][0] in codes:
        return bundle
    patient = next(resource["id"] for resource in resources if resource["resourceType"] == "Patient")
    taken = (day_after(bundle) - timedelta(days=30)).isoformat()
    results = []
    for code, unit, *numbers in MEASURED:
        value, low, high = (
            {"value": number, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit} for number in numbers
        )
        results.append({
            "resourceType": "Observation",
            "id": f"measured-{code}",
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
            "subject": {"reference": f"Patient/{patient}"},
            "effectiveDateTime": taken,
            "valueQuantity": value,
            "referenceRange": [{"low": low, "high": high}],
        })  # fmt: skip
    return bundle | {"entry": [*bundle["entry"], *({"resource": result} for result in results)]}


def living(bundle: Bundle) -> bool:
    """Whether no death is recorded."""
    patient = next(entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == "Patient")
    return not (patient.get("deceasedBoolean") or patient.get("deceasedDateTime"))


def needs(client: FlaskClient, hook: str) -> list[Need]:
    """What the service of a hook asks for, as discovery says it."""
    discovery = orjson.loads(client.get("/cds-services").data)
    found = next(item for item in discovery["services"] if item["hook"] == hook)
    return [Need(key, template.split("?")[0].split("/")[0], template) for key, template in found["prefetch"].items()]


@dataclass
class Clock:
    """The service's time, set for each patient."""

    at: datetime = NOW

    def __call__(self) -> datetime:
        return self.at


def day_after(bundle: Bundle) -> datetime:
    """The day after the newest result, order or encounter; without any, now."""
    found = []
    for entry in bundle["entry"]:
        resource = entry["resource"]
        period = resource.get("period", {}) if resource["resourceType"] == "Encounter" else {}
        for text in (resource.get("effectiveDateTime"), resource.get("authoredOn"), period.get("start")):
            if isinstance(text, str) and len(text) > len("2026-01-01"):
                found.append(datetime.fromisoformat(text).astimezone(UTC))
    return max(found) + timedelta(days=1) if found else NOW


@dataclass
class Result:
    """One answer."""

    patient: str
    hook: str
    status: int
    answer: dict[str, Any]
    living: bool = True

    @property
    def own(self) -> dict[str, Any]:
        found: dict[str, Any] = self.answer.get("extension", {}).get(EXTENSION, {})
        return found

    @property
    def rules(self) -> list[str]:
        """Rules on the cards, merged ones included."""
        made = [card["extension"][EXTENSION] for card in self.answer.get("cards", [])]
        return [rule for one in made for rule in (one["rule"], *(item["rule"] for item in one.get("alsoFired", [])))]

    def reasons(self) -> Iterator[str]:
        """Every reason of every rule that was not evaluated."""
        for item in self.own.get("outcomes", []):
            if item["outcome"] == "not_evaluated":
                yield from item.get("reason", "").split("; ")


@dataclass
class Report:
    """All answers, counted."""

    results: list[Result] = field(default_factory=list)

    def of(self, hook: str) -> list[Result]:
        return [result for result in self.results if result.hook == hook]

    def lines(self) -> Iterator[str]:
        """The tables, as Markdown."""
        for hook in HOOKS:
            mine = self.of(hook)
            drafted = " with a draft of magnesium oxide 400 mg" if hook == "order-select" else ""
            yield f"## {hook}{drafted}: {len(mine)} patients\n"
            statuses = Counter(result.status for result in mine)
            cards = Counter(len(result.answer.get("cards", [])) for result in mine)
            yield f"Answers by status: {_listed(statuses)}. Patients by number of cards: {_listed(cards)}.\n"
            living = [len(result.answer.get("cards", [])) for result in mine if result.living]
            yield (
                f"Recorded as living: {len(living)}, with a card {sum(map(bool, living))}. "
                f"Cards in a day of {CLINIC_DAY} such patients: {CLINIC_DAY * sum(living) / max(1, len(living)):.1f}.\n"
            )
            alive = [result for result in mine if result.living]
            loud = Counter(card["indicator"] for result in alive for card in result.answer.get("cards", []))
            per_100 = ", ".join(f"{level} {100 * loud[level] / max(1, len(alive)):.1f}" for level in INDICATORS)
            yield f"Cards per 100 of them: {per_100}.\n"
            yield from _table("rule on a card", Counter(rule for r in mine for rule in r.rules), "patients")
            outcomes = Counter(item["outcome"] for r in mine for item in r.own.get("outcomes", []))
            yield from _table("outcome", outcomes, "rules x patients")
            lacking = Counter(_general(reason) for r in mine for reason in set(r.reasons()))
            yield from _table("not evaluated because", lacking, "patients")
            states = Counter(f"{key}: {state}" for r in mine for key, state in r.own.get("inputs", {}).items())
            yield from _table("input", states, "patients")
            repairs: Counter[str] = Counter()
            for result in mine:
                repairs.update(result.own.get("repairs", {}))
            yield from _table("repair", repairs, "times")
            yield "| patient | cards | not evaluated | first summary |"
            yield "|---|---|---|---|"
            for result in mine:
                shown = result.answer.get("cards", [])
                first = shown[0]["summary"].replace("|", "/") if shown else "-"
                open_rules = sum(item["outcome"] == "not_evaluated" for item in result.own.get("outcomes", []))
                yield f"| {result.patient} | {len(shown)} | {open_rules} | {first} |"
            yield ""


def _general(reason: str) -> str:
    """A reason without the date and the age that it names."""
    words = reason.split(" result is of ")
    return f"{words[0]} result is too old" if len(words) == 2 else reason


def _listed(counted: Counter[int]) -> str:
    return ", ".join(f"{key}: {counted[key]}" for key in sorted(counted)) or "none"


def _table(head: str, counted: Counter[str], what: str) -> Iterator[str]:
    yield f"| {head} | {what} |"
    yield "|---|---|"
    for name, count in sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])):
        yield f"| {name} | {count} |"
    yield ""


def run(client: FlaskClient, folder: Path = PATIENTS, clock: Clock | None = None, mixture: bool = False) -> Report:
    """Every patient on every hook; with the service's `clock`, each on their own day. `mixture`: see `--measured`."""
    report = Report()
    asked = {hook: needs(client, hook) for hook in HOOKS}
    vocabulary = client.application.extensions["advisor"].vocabulary
    for index, (name, bundle) in enumerate(bundles(folder)):
        if mixture and index % 2:
            bundle = measured(bundle)
        if clock is not None:
            clock.at = day_after(bundle)
        for hook in HOOKS:
            given = with_draft(bundle) if hook == "order-select" else bundle
            body = hook_request(given, hook, asked[hook], vocabulary)
            response = client.post(
                f"/cds-services/magnesium-{hook}", data=orjson.dumps(body), content_type="application/json"
            )
            answer = orjson.loads(response.data)
            report.results.append(Result(name, hook, response.status_code, answer, living(bundle)))
    return report


def main() -> None:
    """Tables to stdout."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    logging.disable(logging.WARNING)
    given = [argument for argument in sys.argv[1:] if argument != "--measured"]
    folder = Path(given[0]) if given else PATIENTS
    with tempfile.TemporaryDirectory() as data:
        clock = Clock()
        app = create_app(Settings(data_dir=Path(data)), now=clock)
        report = run(app.test_client(), folder, clock, "--measured" in sys.argv)
        app.extensions["advisor"].store.close()
    print("\n".join(report.lines()))


if __name__ == "__main__":
    main()
