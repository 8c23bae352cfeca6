"""A sandbox to try the service in: invented sample patients and a read-only FHIR R4 server that holds them.

For trying things out only. It imports nothing else of this project, and nothing else needs it.
"""
