"""MLflow's scorers as ours, and ours as MLflow's."""
