"""A run's folder: file names, publishing, locks, the forms of its files, soft labels."""
