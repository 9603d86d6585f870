"""Recipes: their fields, and the reader of their files."""
