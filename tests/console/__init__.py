"""The console: who may see and do what, and how its pages look."""
