"""Deploying to servers without Docker: survey, plan, bundle and report."""
