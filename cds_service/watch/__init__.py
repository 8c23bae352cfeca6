"""Watches what fires: every count against its own past, and patients whose cards are known."""
