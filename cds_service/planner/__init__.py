"""When to take magnesium: a day without conflicts, worked out (`plan.plan_day`) and drawn (`picture`).

Knows no FHIR, no HTTP and no clock; intervals, schedule and today are passed in. `times.drug_times` reads dosage
instructions.
"""
