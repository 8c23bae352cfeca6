"""Facts and a rulebook in, the outcome of every rule out. Knows no FHIR, no HTTP, no clock and no wording."""
