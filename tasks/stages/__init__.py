"""The stages of a conversion as Prefect tasks."""
