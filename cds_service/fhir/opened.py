"""A Bundle as it stands in a file, opened: its entries, those of Bundles within it, and what it says of itself."""

from __future__ import annotations

from typing import Any, Final

import orjson
from msgspec import Raw, Struct
from msgspec.json import Decoder

from cds_service.fhir.elements import NOTHING, Answer, Bundle, Entry, Link, Search
from cds_service.fhir.heads import text_of
from cds_service.fhir.identity import UNREADABLE
from cds_service.fhir.inputs import next_page
from cds_service.fhir.marks import is_subsetted
from cds_service.fhir.numbers import NO_COUNT, stated_total

BUNDLE: Final = "Bundle"


class _Request(Struct, gc=False):
    method: str | None = None
    url: str | None = None


class Listed(Entry, gc=False):
    """An entry as it stands in a Bundle."""

    request: _Request | None = None

    @property
    def refused(self) -> bool:
        """Whether it is the answer to a request that failed."""
        status = self.response.status if self.response else None
        return status is not None and not status.lstrip().startswith("2")

    @property
    def deletes(self) -> bool:
        """Whether it says that a resource is no longer there."""
        return self.request is not None and (self.request.method or "").strip().upper() == "DELETE"

    @property
    def empty(self) -> bool:
        """Whether it holds no resource."""
        return bytes(self.resource) in (b"", b"null")


class _Whole(Struct, gc=False):
    entry: list[Listed] = []
    total: Raw = NOTHING
    link: list[Link] | None = None
    implicitRules: Any = None
    meta: Raw = NOTHING


class Opened:
    """A Bundle, and all Bundles within it. `surplus`: how many more there are than it holds, by its total; `uncounted`:
    a total can be none; `next`: the links to where it goes on."""

    def __init__(self) -> None:
        self.entries: list[Listed] = []
        self.next: list[Link] = []
        self.surplus = 0
        self.uncounted = False
        self.rules: Any = None

    def open(self, raw: bytes | Raw) -> None:
        """One more Bundle. Never raises: what is no entry of FHIR's is one that holds no resource."""
        try:
            view = _whole(raw)
        except UNREADABLE:
            view = _loosely(orjson.loads(memoryview(raw)))
        held = 0
        for entry in view.entry:
            if b'"Bundle"' in bytes(entry.resource) and not entry.refused and _is_bundle(entry.resource):
                self.open(entry.resource)
            else:
                self.entries.append(entry)
            mode = entry.search.mode if entry.search else None
            held += mode not in ("include", "outcome") and b'"OperationOutcome"' not in bytes(entry.resource)
        total = stated_total(view.total)
        self.uncounted |= total == NO_COUNT
        # One that says that it is a part holds not all of what was found, whatever its total.
        self.surplus += max(0, (total or 0) - held, int(is_subsetted(view.meta)))
        if next_page(view.link) is not None:
            self.next += view.link or ()
        self.rules = view.implicitRules if self.rules is None else self.rules


class _Kind(Struct, gc=False):
    resourceType: str


_whole = Decoder(_Whole).decode
_kind = Decoder(_Kind).decode


def _is_bundle(raw: bytes | Raw) -> bool:
    try:
        return _kind(raw).resourceType == BUNDLE
    except UNREADABLE:
        return False


def _loosely(bundle: Any) -> _Whole:
    """A Bundle of which an element is of another type than FHIR's."""
    bundle = bundle if isinstance(bundle, dict) else {}
    listed = bundle.get("entry", [])
    entries = [_entry(each) for each in (listed if isinstance(listed, list) else [listed])]
    total = bundle.get("total")
    links = bundle.get("link")
    told: list[Link] = []
    for each in links if isinstance(links, list) else [links] if links is not None else []:
        said = each if isinstance(each, dict) else {}
        told.append(Link(text_of(said.get("relation")) or "next", text_of(said.get("url"))))
    said_total = Raw(orjson.dumps(total)) if total is not None else NOTHING
    return _Whole(entries, said_total, told, bundle.get("implicitRules"))


def _entry(entry: Any) -> Listed:
    if not isinstance(entry, dict):
        return Listed()
    made = Listed(text_of(entry.get("fullUrl")), modifierExtension=entry.get("modifierExtension"))
    if "resource" in entry:
        made.resource = Raw(orjson.dumps(entry["resource"]))
    answer, asked, found = entry.get("response"), entry.get("request"), entry.get("search")
    if isinstance(found, dict):
        made.search = Search(text_of(found.get("mode")))
    if answer is not None:
        status = answer.get("status") if isinstance(answer, dict) else ""
        made.response = Answer(str(status))
    if isinstance(asked, dict):
        made.request = _Request(text_of(asked.get("method")), text_of(asked.get("url")))
    return made


def plain(bundle: Bundle) -> dict[str, Any]:
    """A Bundle of these as JSON is in Python."""
    made: dict[str, Any] = {"resourceType": BUNDLE, "type": bundle.type}
    if (total := stated_total(bundle.total)) is not None:
        made["total"] = total
    if bundle.link:
        made["link"] = [_said(relation=each.relation, url=each.url) for each in bundle.link]
    if bundle.implicitRules is not None:
        made["implicitRules"] = bundle.implicitRules
    made["entry"] = [
        _said(
            fullUrl=each.fullUrl,
            resource=_json(each.resource),
            search=_said(mode=each.search.mode) if each.search else None,
            response=_answer(each.response) if each.response else None,
            modifierExtension=each.modifierExtension,
        )
        for each in (bundle.entry or ())
    ]
    return made


def _answer(answer: Answer) -> dict[str, Any]:
    return _said(status=answer.status, outcome=_json(answer.outcome))


def _said(**elements: Any) -> dict[str, Any]:
    return {name: value for name, value in elements.items() if value is not None}


def _json(raw: Raw) -> Any:
    return orjson.loads(memoryview(raw)) if raw is not NOTHING and bytes(raw) else None
