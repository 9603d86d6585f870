"""`python -m xtremedistil_ner` is `xner`: the form that torchrun and accelerate start."""

from xtremedistil_ner.cli import main

main()
