"""Clinical content only: rules, terminology, tables, references. No code lives here."""
