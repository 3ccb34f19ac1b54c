"""MLflow's registry webhooks as Prefect events: a small web application between two servers."""
