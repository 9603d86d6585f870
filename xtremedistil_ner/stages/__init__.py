"""The stages of a run: one public function each, named inputs in, one artefact out."""
