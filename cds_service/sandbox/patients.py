"""The bundled sample patients. Every one is invented."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib.resources import files
from types import MappingProxyType

import yaml
from pydantic import ValidationError

from . import expand
from .expand import Resource
from .sample import Sample

FEATURED = (
    ("ciprofloxacin", "order-sign", "magnesium-oxide"),
    ("digoxin", "patient-view", ""),
    ("kidney", "order-sign", "magnesium-oxide"),
)
"""Whom to look at first, on which hook and with which draft: a day planned, a low value that matters, kidneys that
fail."""


class SampleError(Exception):
    """A sample file that cannot be used: its name, and each fault with its place."""


class SamplePatient(Sample):
    """A sample patient, ready to be expanded to FHIR R4 at any time."""

    def resources(self, now: datetime) -> list[Resource]:
        """Everything on file at `now` (with a time zone), the Patient first. No drafts."""
        return expand.resources(self, now)

    def bundle(self, now: datetime) -> Resource:
        """`resources` as one Bundle of type collection."""
        return _collection(self.resources(now))

    def draft(self, name: str, now: datetime) -> Resource:
        """A draft MedicationRequest, as it stands in context.draftOrders. KeyError for an unknown name."""
        return expand.medication(self.drafts[name], self.id, f"draft-{name}", now, status="draft")

    def draft_context(self, now: datetime, *names: str) -> Resource:
        """The fields `selections` and `draftOrders` of an order-select context (no name: all drafts)."""
        drafts = [self.draft(name, now) for name in names or self.drafts]
        return {
            "selections": [f"MedicationRequest/{draft['id']}" for draft in drafts],
            "draftOrders": _collection(drafts),
        }


def _collection(entries: list[Resource]) -> Resource:
    bundle: Resource = {"resourceType": "Bundle", "type": "collection"}
    if entries:
        bundle["entry"] = [{"resource": entry} for entry in entries]
    return bundle


def read(stem: str, text: str) -> SamplePatient:
    """One sample file, given its stem and its text. Raises SampleError, naming every fault."""
    try:
        sample = SamplePatient.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as fault:
        raise SampleError(f"{stem}.yaml: not readable as YAML: {fault}") from fault
    except ValidationError as faults:
        lines = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in faults.errors())
        raise SampleError(f"{stem}.yaml: {lines}") from faults
    if sample.id != stem:
        raise SampleError(f"{stem}.yaml: id: is {sample.id!r}, should be the file's stem")
    return sample


@cache
def load() -> Mapping[str, SamplePatient]:
    """Every sample patient by id, in the order of their ids. Raises SampleError."""
    folder = files(__package__) / "patients"
    listed = sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    found = [read(file.name.removesuffix(".yaml"), file.read_text(encoding="utf-8")) for file in listed]
    return MappingProxyType({sample.id: sample for sample in found})


def everything(now: datetime) -> list[Resource]:
    """All that is on file of all of them at `now` (with a time zone), and who prescribes."""
    return [expand.PRACTITIONER, *(resource for sample in load().values() for resource in sample.resources(now))]
