"""Waiting for what another process does."""

from __future__ import annotations

import time


def wait_until(condition, timeout_s=60):
    """Return when a condition holds; it is an error if it never does."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
