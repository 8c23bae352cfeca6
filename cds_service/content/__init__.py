"""cards/ read whole and strictly: typed rules, tables, test words, families, site values, the rulebook of a day."""
