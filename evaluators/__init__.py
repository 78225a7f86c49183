"""Evaluators: figures with sample size, chance level and interval."""
