"""Deploying to servers that have Docker: survey, plan, tunnel and report."""
