"""Evaluation: any model opened, scored and compared with baselines."""
