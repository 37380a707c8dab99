"""Write a journal's rows to MLflow."""
