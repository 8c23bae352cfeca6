"""What suits an EHR's screen: the profile of a client, and the presets (`presets/`) that fill it for a kind of EHR."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from cds_service.content.yamlfile import parse

PRESETS: Final = ("epic", "oracle", "crd", "sandbox", "generic")
Preset = Literal["epic", "oracle", "crd", "sandbox", "generic"]
Action = Literal["create", "update", "delete"]
Hook = Literal["patient-view", "order-select", "order-sign"]
Indicator = Literal["info", "warning", "critical"]
Part = Literal["all", "urgent", "information"]
PARTS: Final[tuple[Part, ...]] = ("urgent", "information")


class Code(BaseModel):
    """A code of the EHR's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    system: str
    code: str
    display: str = ""


class Profile(BaseModel):
    """What suits the EHR's screen. The preset says what is not said here; None: the setting of the service holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: Annotated[Preset, Field(description="which kind of EHR it is: whose table fills what is not said here")] = (
        "generic"
    )
    hooks: Annotated[tuple[Hook, ...], Field(description="hooks that it calls, for its build sheet")] = (
        "patient-view",
        "order-select",
        "order-sign",
    )
    prefetch: Annotated[
        Literal["discovery", "typed", "none"],
        Field(description="where it has the queries of prefetch from, for its build sheet; none: it sends no prefetch"),
    ] = "discovery"
    markdown: Annotated[Literal["gfm", "basic", "none"], Field(description="how much Markdown its cards show")] = "gfm"
    detail_extension: Annotated[
        str | None, Field(description="extension of a card that names the type of its detail; none: no such extension")
    ] = None
    detail_types: Annotated[
        dict[Literal["gfm", "basic", "none"], str], Field(description="what stands in it, by `markdown`")
    ] = {}
    max_cards: Annotated[int | None, Field(ge=1, le=20, description="most cards in one answer")] = None
    on_incomplete: Annotated[
        Literal["info_card", "412"] | None, Field(description="answer where something was not checked")
    ] = None
    null_prefetch: Annotated[
        Literal["none", "failed"], Field(description="what a prefetch value of null says: none there, or not read")
    ] = "none"
    links: Annotated[
        Literal["absolute", "static", "none"],
        Field(description="links that its cards may carry; static: of a list that can be written down beforehand"),
    ] = "absolute"
    units: Annotated[
        dict[str, str],
        Field(description="unit in which a laboratory value is shown, by lab; the laboratory's own stands beside it"),
    ] = {}
    selection_behavior: Annotated[
        Literal["own", "any", "at-most-one"], Field(description="the only selectionBehavior it takes; own: as it fits")
    ] = "own"
    actions: Annotated[
        dict[Action, tuple[str, ...]] | None,
        Field(description="what a suggestion can do, each with the resources for which it can; none: everything"),
    ] = None
    actions_per_suggestion: Annotated[
        int | None, Field(ge=1, description="most actions of one suggestion; none: no bound")
    ] = None
    suggestion_hooks: Annotated[tuple[Hook, ...], Field(description="where suggestions can be taken")] = (
        "patient-view",
        "order-select",
        "order-sign",
    )
    button_text: Annotated[
        Literal["label", "description"], Field(description="what of a suggestion the user reads before taking it")
    ] = "label"
    order_codes: Annotated[
        Literal["standard", "site"],
        Field(description="codes of an order to create; site: only those under `orderables` in the site values"),
    ] = "standard"
    order_category: Annotated[
        dict[Literal["inpatient", "other"], Code] | None, Field(description="category of an order to create")
    ] = None
    topics: Annotated[
        Literal["group", "rule", "none"],
        Field(description="source.topic: what the card is about, a code of letters and digits for each rule, or none"),
    ] = "group"
    override_reasons: Annotated[bool, Field(description="whether cards offer reasons to dismiss them")] = True
    override_codes: Annotated[
        dict[str, Code], Field(description="its own codes for our reasons, by their names in override_reasons.yaml")
    ] = {}
    indicators: Annotated[
        dict[Indicator, Indicator], Field(description="what a card's indicator is sent as, where not as it is")
    ] = {}
    system_actions: Annotated[
        Literal["absent", "empty"], Field(description="systemActions of an answer: not there, or an empty list")
    ] = "absent"
    crd_version: Annotated[
        str | None, Field(description="version of Da Vinci CRD to declare in discovery; none: none")
    ] = None
    feedback_audience: Annotated[
        Literal["called", "service"],
        Field(description="claim aud of feedback: the address called, or that of the service without /feedback too"),
    ] = "called"
    trigger_extension: Annotated[
        str | None, Field(description="extension of a call that names the moment it comes from")
    ] = None
    triggers: Annotated[
        dict[str, Part], Field(description="which cards such a moment gets, by its code; not listed: all")
    ] = {}

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, given: Any) -> Any:
        """What is not said is filled from the preset, key by key."""
        name = given.get("preset", "generic") if isinstance(given, Mapping) else None
        return {**preset(name).given, **given} if name in PRESETS else given

    def may(self, action: str, resource: str) -> bool:
        """Whether the EHR can do this."""
        return self.actions is None or resource in self.actions.get(action, ())  # type: ignore[call-overload]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Strict):
    """What was read of an EHR, where and when."""

    title: str
    where: str
    read: date


class Known(_Strict):
    """One fact: what is known, by which source, and how: `said` there, `seen` in a sample, or only `inferred`."""

    says: str
    known: Literal["said", "seen", "inferred"]
    by: tuple[str, ...]


class Value(_Strict):
    """What the preset sets a key of the profile to, and the facts behind it."""

    value: Any
    facts: tuple[str, ...] = ()


class PresetFile(_Strict):
    """One file of `presets/`. `open`: what nobody could verify; `without_ehr`: how to try it."""

    title: str
    about: str
    sources: dict[str, Source]
    profile: dict[str, Value]
    facts: dict[str, Known]
    open: tuple[str, ...]
    without_ehr: str

    @property
    def given(self) -> dict[str, Any]:
        """The keys that it sets."""
        return {key: item.value for key, item in self.profile.items()}


def services_served(services: Iterable[str], split: bool) -> dict[str, tuple[str, Part]]:
    """Every id under which a service is called: its own, and with `split` those of its two parts. With the service and
    the part that it stands for."""
    found: dict[str, tuple[str, Part]] = {name: (name, "all") for name in services}
    parts = {f"{name}-{part}": (name, part) for name in found for part in PARTS} if split else {}
    return found | parts


def topic_code(rule: str) -> str:
    """The rule's own code, of letters and digits only. It never changes: what users dismiss is remembered under it."""
    return re.sub(r"[^A-Za-z0-9]", "", rule)


@cache
def preset(name: str) -> PresetFile:
    """The table of one kind of EHR."""
    file = files("cds_service.trust") / "presets" / f"{name}.yaml"
    return TypeAdapter(PresetFile).validate_python(parse(file.read_text(encoding="utf-8"), file.name).data)
