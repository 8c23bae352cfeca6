"""Every rule over all patients of a hospital, as `magnesium-cds screen` does."""
