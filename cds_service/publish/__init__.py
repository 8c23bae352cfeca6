"""Our content for other machines and for reviewers: FHIR, plain words, the catalogue."""
