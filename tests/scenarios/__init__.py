"""The patients that every rule is tried on: a YAML file for each rule, read by `cds_service.sandbox.scenario`."""
