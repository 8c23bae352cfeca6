"""What a code, a name, a strength or a unit means."""
