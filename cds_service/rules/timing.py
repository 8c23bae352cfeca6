"""Doses that meet: rules with a `separate` or an `avoid` block."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from cds_service.content.concept import MAGNESIUM
from cds_service.content.rule import Avoid, Rule, Separate
from cds_service.content.rulebook import Limit, Rulebook
from cds_service.patient import Medication
from cds_service.rules.context import Context, medication_notes
from cds_service.rules.verdict import FALSE, Pair, Verdict, unknown

MINUTES_A_DAY = 24 * 60


def try_timing(rule: Rule, context: Context, limits: Mapping[str, Limit]) -> Verdict:
    """True where magnesium and the drug may meet: both active, or one of them being ordered beside the other.

    Quiet where the orders already keep them apart: by times, of the clock or in words, that satisfy both intervals, or
    by our own instruction in the order.
    """
    block = rule.timing
    if block is None:
        raise TypeError("a timing rule has a separate or an avoid block")
    if _may_be_hidden(context) and (block.drug not in context.drugs or not context.oral_magnesium):
        return context.unless_hidden("any")
    drugs = [item for item in context.medications(frozenset({block.drug}), "any", "oral") if form_fits(item, block)]
    products = [
        item for item in context.oral_magnesium if block.drug not in item.drugs and salt_fits(item, block.magnesium)
    ]
    pairs = [
        pair
        for product in products
        for drug in drugs
        if MAGNESIUM not in drug.drugs and (pair := _pair(product, drug, context))
    ]
    if rule.separate:
        book = context.rulebook
        before, after = limits[rule.separate.drug_then_magnesium], limits[rule.separate.magnesium_then_drug]
        open_pairs = [pair for pair in pairs if not kept_apart(pair, block.drug, before.value, after.value, book)]
        used: tuple[Limit, ...] = (before, after)
    else:
        open_pairs, used = pairs, ()
    if open_pairs:
        first = open_pairs[0]
        sources = tuple(dict.fromkeys(item.source for pair in open_pairs for item in (pair.magnesium, pair.drug)))
        notes = medication_notes([first.magnesium, first.drug])
        if block.magnesium and not first.magnesium.drugs & set(block.magnesium):
            notes += ("salt_not_stated",)
        if rule.separate and rule.separate.unless_form and first.drug.form is None:
            notes += ("form_not_stated",)
        bindings = {"pairs": tuple(open_pairs), "magnesium": first.magnesium, "drug": block.drug}
        return Verdict(True, (), bindings, sources, notes, used)
    if pairs or not _could_concern(context, products, drugs):
        return FALSE
    gaps = context.medication_gaps("any")
    # One half is certainly absent only when everything that could hold it was read.
    return unknown(*gaps) if gaps else FALSE


def drug_not_found(context: Context) -> Verdict | None:
    """What every rule says whose drug was not found, or None where that is another thing for each."""
    if _may_be_hidden(context):
        return context.unless_hidden("any")
    return None if any(item.status == "draft" for item in context.oral_magnesium) else FALSE


def _may_be_hidden(context: Context) -> bool:
    """Whether either half may be what nobody could read: on order hooks one of them has to be among the drafts."""
    return not context.drafts_expected or bool(context.medication_gaps("draft"))


def salt_fits(product: Medication, salts: list[str]) -> bool:
    """Whether the rule holds for this product. One whose salt is not named may be any of them."""
    named = any(name.startswith(f"{MAGNESIUM}_") for name in product.drugs)
    return not salts or bool(product.drugs & set(salts)) or not named


def form_fits(drug: Medication, block: Separate | Avoid) -> bool:
    """Whether the rule holds for this form of the drug. One that is not stated may be any."""
    return not isinstance(block, Separate) or drug.form not in block.unless_form


def _could_concern(context: Context, products: list[Medication], drugs: list[Medication]) -> bool:
    """Whether the rule could fire if more were known."""
    return _may_be_hidden(context) or any(item.status == "draft" for item in (*products, *drugs))


def _pair(product: Medication, drug: Medication, context: Context) -> Pair | None:
    drafts = [item for item in (product, drug) if item.status == "draft"]
    if not context.drafts_expected:
        return Pair(product, drug, None)
    if not drafts:
        return None
    any_selected = any(item.selected for item in context.facts.medications)
    if any_selected and not any(item.selected for item in drafts):
        return None
    chosen = next((item for item in drafts if item.selected), drafts[0])
    # Where both are drafted, the magnesium order is the one to move.
    if product in drafts and (product.selected or not drug.selected):
        chosen = product
    return Pair(product, drug, chosen)


def kept_apart(pair: Pair, drug: str, before: Decimal, after: Decimal, rulebook: Rulebook) -> bool:
    """Whether the two orders already keep their distance. `before`: hours from drug to magnesium; `after`: back."""
    for order, other in ((pair.magnesium, drug), (pair.drug, MAGNESIUM)):
        if order.dosages and all(other in dosage.kept_apart_from for dosage in order.dosages):
            return True
    magnesium_times, drug_times = _times(pair.magnesium, rulebook), _times(pair.drug, rulebook)
    if magnesium_times is None or drug_times is None:
        return False
    for taken, drug_off in drug_times:
        for dose, magnesium_off in magnesium_times:
            off = drug_off + magnesium_off
            after_drug, after_magnesium = (dose - taken) % MINUTES_A_DAY, (taken - dose) % MINUTES_A_DAY
            if after_drug < before * 60 + off or after_magnesium < after * 60 + off:
                return False
    return True


def _times(medication: Medication, rulebook: Rulebook) -> list[tuple[int, int]] | None:
    """Minutes after midnight of every dose, and by how many it may be off: a time in words ("on waking") stands where
    the usual day has it. None where an instruction gives no time, is as needed, or names a meal."""
    found: list[tuple[int, int]] = []
    for dosage in medication.dosages:
        said = [_moment(code, offset, rulebook) for code, offset in dosage.when]
        if dosage.problem or dosage.as_needed or not (dosage.times or said) or None in said:
            return None
        found += [(moment.hour * 60 + moment.minute, 0) for moment in dosage.times]
        found += [moment for moment in said if moment is not None]
    return found or None


def _moment(code: str, offset: int, rulebook: Rulebook) -> tuple[int, int] | None:
    """Where a time in words stands in the usual day of this site, and by how much it may be off."""
    table, own = rulebook.library.schedule, rulebook.site.schedule
    moment = table.moments.get(code)
    if moment is None or moment.at is None or moment.usual or offset:
        return None
    clock, off = (own.get(name, table.thresholds[name].at(rulebook.day)) for name in (moment.at, "words_off"))
    return int(clock[:2]) * 60 + int(clock[3:]), int(off)
