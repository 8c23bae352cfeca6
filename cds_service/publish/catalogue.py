"""`cards/README.md`: every rule and every concept in a line, made from their files."""

from __future__ import annotations

from collections import Counter

from cds_service.content.library import RULE_FOLDERS, Library
from cds_service.content.shared import PRIMARY
from cds_service.content.sources import LONGEST_NAME, thresholds_of, without_primary

INTRO = """# Rules

Written by `magnesium-cds catalogue`; do not edit. One YAML file is one rule; its file stem is its id.
Clinical review of every rule: see `reviewed` in the rule. "Pending" means that it has not happened.
"""

SHORT_NAMES = (
    "The short name of a source begins with a capital letter and with what it is (US label of ..., EU leaflet of ..., "
    "UK SmPC of ..., Trial of ..., Meta-analysis of ..., the body and its guideline), so that it reads well at the "
    'start of a line, after "Source:" and in brackets. It holds no year, which the card adds, no mark at its end, and '
    f"at most {LONGEST_NAME} characters. `magnesium-cds check` holds this."
)


def catalogue_text(library: Library) -> str:
    """The whole file."""
    parts = [INTRO]
    for folder in RULE_FOLDERS:
        rules = sorted((p for p in library.rules.values() if p.folder == folder), key=lambda item: item.id)
        if not rules:
            continue
        parts.append(f"## {library.wording.topics[folder]}\n")
        parts.append("| rule | what it says | hooks | urgency | evidence | source | kind | date | read | review |")
        parts.append("|---|---|---|---|---|---|---|---|---|---|")
        for loaded in rules:
            rule = loaded.rule
            hooks = ", ".join(library.services[name].hook for name in rule.services)
            certainty = library.evidence.certainty[rule.evidence.certainty].label
            strength = rule.evidence.strength
            direction = library.evidence.direction[rule.evidence.direction]
            source = library.references[rule.evidence.references[0]]
            kind = library.wording.source_kinds[source.kind]
            read = library.wording.read[source.read] if source.read else ""
            edition = source.version or source.year or ""
            state = "" if rule.status == "active" else f" ({rule.status})"
            parts.append(
                f"| [{loaded.id}]({loaded.file}){state} | {rule.title} | {hooks} | {rule.card.indicator} | "
                f"{certainty}; {strength} {direction} | {source.name} | {kind} | {edition} | "
                f"{read} | {rule.reviewed.by} |"
            )
        parts.append("")
    parts += _sources(library)
    parts += ["## Coverage of known interactions\n", "| interaction | rules, or why there is none |", "|---|---|"]
    for name, row in library.coverage.items():
        parts.append(f"| {name} | {', '.join(row.rules) if row.rules else row.not_a_rule} |")
    parts += ["", "## Claims\n", "| claim | verdict | certainty | rules, or how it is answered |", "|---|---|---|---|"]
    for name, claim in library.claims.items():
        answered = ", ".join(claim.rules) or ("claims page only" if claim.shown else f"not linked: {claim.reason}")
        verdict = claim.verdict.replace("_", " ")
        parts.append(f"| {name} | {verdict} | {library.evidence.certainty[claim.certainty].label} | {answered} |")
    parts += ["", "## Terminology\n", "| concept | what it is | kind |", "|---|---|---|"]
    for name, entry in library.terminology.items():
        file = "drugs" if name in library.listed else name
        parts.append(f"| [{name}](terminology/{file}.yaml) | {entry.title} | {entry.kind.replace('_', ' ')} |")
    languages = (f"[{name}](tables/directions/{name}.yaml)" for name in library.languages)
    parts += ["", f"Written directions are read in {', '.join(languages)}.", ""]
    parts.append(f"{len(library.rules)} rules, {len(library.terminology)} concepts, {len(library.references)} sources.")
    return "\n".join(parts) + "\n"


def _sources(library: Library) -> list[str]:
    """How many rules and thresholds rest on sources of which kind, and which thresholds without a primary one."""
    leading = Counter(library.references[item.rule.evidence.references[0]].kind for item in library.rules.values())
    limits = list(thresholds_of(library))
    under = Counter(library.references[item.reference].kind for _, _, _, item in limits)
    primary = [f"{sum(count[kind] for kind in PRIMARY) / count.total():.0%}" for count in (leading, under)]
    lines = ["## Sources\n", "The first source of a rule is the one that its cards show.\n", f"{SHORT_NAMES}\n"]
    lines += ["| kind | first source of rules | source of thresholds |", "|---|---|---|"]
    for kind, words in library.wording.source_kinds.items():
        if leading[kind] or under[kind]:
            lines.append(f"| {words} | {leading[kind]} | {under[kind]} |")
    lines += [f"| **all** | {leading.total()} | {under.total()} |", f"| **primary** | {primary[0]} | {primary[1]} |"]
    names = ", ".join(library.wording.source_kinds[kind] for kind in PRIMARY)
    lines += [
        "",
        f"Primary: {names}.\n",
        "| threshold without a primary source, nor our own choice | why |",
        "|---|---|",
    ]
    lines += [
        f"| {name} | {library.other_sources.get(name, 'not said')} |" for name in sorted(without_primary(library))
    ]
    return [*lines, ""]
