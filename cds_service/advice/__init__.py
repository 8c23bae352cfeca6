"""Chart in, advice out: cards and their words. Knows no HTTP and no Flask."""
