"""How the tables came to be, in order. Run at start by `cds_service.store.schema`."""
