"""Where models and data come from and go to: local files, S3, the model registry. Knows no orchestrator."""
