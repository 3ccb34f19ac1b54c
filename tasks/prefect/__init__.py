"""What the flows need of Prefect: locks, retries, results, artifacts, lineage."""
