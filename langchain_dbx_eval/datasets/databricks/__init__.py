"""Datasets in a Databricks workspace: SQL warehouse, Spark, credential vending, managed API."""
