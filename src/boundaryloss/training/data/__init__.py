"""A data folder -> batches."""
