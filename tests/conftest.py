"""Settings that must stand before torch or the tokenizers are imported: one thread, no network."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # a second OpenMP thread beside a busy core makes a test 7 to 10 times slower
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
