"""Clinical content only: pages, terminology, tables, references. No code lives here."""
