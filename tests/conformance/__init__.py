"""What CDS Hooks asks of a service, one test for each requirement; the list is in README.md here."""
