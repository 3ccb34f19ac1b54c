"""What the flows need of Prefect: locks, retries, artifacts, lineage."""
