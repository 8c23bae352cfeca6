"""`cards/README.md`: every rule and every concept in a line, made from their files."""

from __future__ import annotations

from cds_service.content.library import RULE_FOLDERS, Library

INTRO = """# Rules

Written by `magnesium-cds catalogue`; do not edit. One YAML file is one rule; its file stem is its id.
Clinical review of every rule: see `reviewed` in the rule. "Pending" means that it has not happened.
"""


def catalogue_text(library: Library) -> str:
    """The whole file."""
    parts = [INTRO]
    for folder in RULE_FOLDERS:
        rules = sorted((p for p in library.rules.values() if p.folder == folder), key=lambda item: item.id)
        if not rules:
            continue
        parts.append(f"## {library.wording.topics[folder]}\n")
        parts.append("| rule | what it says | hooks | urgency | evidence | source | review |")
        parts.append("|---|---|---|---|---|---|---|")
        for loaded in rules:
            rule = loaded.rule
            hooks = ", ".join(library.services[name].hook for name in rule.services)
            certainty = library.evidence.certainty[rule.evidence.certainty].label
            strength = rule.evidence.strength
            direction = library.evidence.direction[rule.evidence.direction]
            source = library.references[rule.evidence.references[0]]
            year = f", {source.year}" if source.year else ""
            state = "" if rule.status == "active" else f" ({rule.status})"
            parts.append(
                f"| [{loaded.id}]({loaded.file}){state} | {rule.title} | {hooks} | {rule.card.indicator} | "
                f"{certainty}; {strength} {direction} | {source.name}{year} | {rule.reviewed.by} |"
            )
        parts.append("")
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
