"""The tests; `python3 tests/run.py` sets up what they need and runs them."""
