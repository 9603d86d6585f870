"""Distillation: strategies, losses, new students and what they are trained on."""
