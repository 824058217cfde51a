"""Executes the project's notebooks strictly and makes their reports."""
