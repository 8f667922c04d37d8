"""A sample of an engine's answers in parquet files."""
