"""Processes: signals, ends, cores, devices, precision."""
