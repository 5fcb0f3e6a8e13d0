"""The language model's side: weights, rendering, signals and the Triton model that serves them.

It runs in an environment of its own (torch, transformers, NumPy < 2; `requirements.lock` here) and shares nothing with the
services but the names in `headrace.core.ports.signal_model`.
"""
