"""The commands of `magnesium-cds`, one file for each thing a person wants."""
