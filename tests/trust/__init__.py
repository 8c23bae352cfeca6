"""The trust boundary: who may call, where we may call, and what happens when things break."""
