"""The pipeline: stages in order, fingerprints, what is checked before a run."""
