"""The first run: real conversations through the real parts, and a table of what came of it."""
