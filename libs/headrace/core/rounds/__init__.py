"""Rounds: the dataset is surveyed with the model trained on it, and what that model cannot learn from is mended."""
