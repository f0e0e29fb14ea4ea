"""The library in the manner of others: each module needs its framework, and nothing else needs it."""
