"""Written directions: a corpus of them, and what must hold of all."""
