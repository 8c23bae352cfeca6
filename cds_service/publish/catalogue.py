"""`cards/README.md`: every page in a line, made from the pages."""

from __future__ import annotations

from cds_service.content.library import PAGE_FOLDERS, Library

INTRO = """# Pages

Written by `magnesium-cds catalogue`; do not edit. One YAML file is one rule; its file stem is its id.
Clinical review of every page: see `reviewed` in the page. "Pending" means that it has not happened.
"""


def catalogue_text(library: Library) -> str:
    """The whole file."""
    parts = [INTRO]
    for folder in PAGE_FOLDERS:
        pages = sorted((p for p in library.pages.values() if p.folder == folder), key=lambda item: item.id)
        if not pages:
            continue
        parts.append(f"## {library.wording.topics[folder]}\n")
        parts.append("| page | what it says | hooks | urgency | evidence | source | review |")
        parts.append("|---|---|---|---|---|---|---|")
        for loaded in pages:
            page = loaded.page
            hooks = ", ".join(library.services[name].hook for name in page.services)
            certainty = library.evidence.certainty[page.evidence.certainty].label
            strength = page.evidence.strength
            direction = library.evidence.direction[page.evidence.direction]
            source = library.references[page.evidence.references[0]]
            year = f", {source.year}" if source.year else ""
            state = "" if page.status == "active" else f" ({page.status})"
            parts.append(
                f"| [{loaded.id}]({loaded.file}){state} | {page.title} | {hooks} | {page.card.indicator} | "
                f"{certainty}; {strength} {direction} | {source.publisher or source.title}{year} | {page.reviewed.by} |"
            )
        parts.append("")
    parts += ["## Coverage of known interactions\n", "| interaction | pages, or why there is none |", "|---|---|"]
    for name, row in library.coverage.items():
        parts.append(f"| {name} | {', '.join(row.pages) if row.pages else row.not_a_page} |")
    parts += ["", "## Claims\n", "| claim | verdict | certainty | pages, or how it is answered |", "|---|---|---|---|"]
    for name, claim in library.claims.items():
        answered = ", ".join(claim.pages) or ("claims page only" if claim.shown else f"not linked: {claim.reason}")
        verdict = claim.verdict.replace("_", " ")
        parts.append(f"| {name} | {verdict} | {library.evidence.certainty[claim.certainty].label} | {answered} |")
    parts.append("")
    parts.append(f"{len(library.pages)} pages, {len(library.terminology)} concepts, {len(library.references)} sources.")
    return "\n".join(parts) + "\n"
