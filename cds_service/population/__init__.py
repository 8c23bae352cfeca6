"""Many patients under two rulebooks: what a change of the site values would do, before it is live."""

from cds_service.population.cases import Case, Cohort
from cds_service.population.compare import Comparison, compare
from cds_service.population.shipped import effect_of, samples_cohort, scenarios_cohort, shipped_cohort
from cds_service.population.uploads import TooLarge, read_upload

__all__ = [
    "Case",
    "Cohort",
    "Comparison",
    "TooLarge",
    "compare",
    "effect_of",
    "read_upload",
    "samples_cohort",
    "scenarios_cohort",
    "shipped_cohort",
]
