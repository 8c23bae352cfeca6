"""One file per change of the tables, numbered. A released file is never changed."""
