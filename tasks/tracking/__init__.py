"""What is written to MLflow: runs, logged models, registered versions. Clients only, no global tracking state."""
