"""What people open in a browser: evidence, claims, plans."""
