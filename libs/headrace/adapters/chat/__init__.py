"""Generating models behind OpenAI-compatible endpoints, by role, with replies that are never paid twice."""
