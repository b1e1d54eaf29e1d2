"""The checks of the exercises: one module for each, one function `check(ask, rng)` for each of its parts.

A check asks for what the submission's code returns for inputs of its own making, and raises Wrong where that
is not what the papers say (`papers.py`). It never imports HW3.
"""
