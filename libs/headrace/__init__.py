"""Headrace closes the loop between a language model and its training data."""

__version__ = "0.1.0"
