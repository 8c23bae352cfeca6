"""The files and the pages that an administrator works with, tried with real processes."""
