"""Training: losses, data order, checkpoints, the one loop, strategies, processes."""
