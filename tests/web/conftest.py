"""The fixtures of the console, for the pages that need somebody signed in."""

from tests.console.conftest import cheap_hashes, clock, dear_hashes, signer_file, worker

__all__ = ["cheap_hashes", "clock", "dear_hashes", "signer_file", "worker"]
