"""Distillation reports: built as JSON, shown as Markdown."""
