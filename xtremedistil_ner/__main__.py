"""`python -m xtremedistil_ner` is `xner`: the form that torchrun and accelerate start."""

from xtremedistil_ner.processes.process_end import run_as_process


def main() -> None:
    """Run `xner`; signals are held while its commands are loaded, too."""
    run_as_process(_load_and_run)


def _load_and_run() -> None:
    from xtremedistil_ner.commands.main import run

    run()


if __name__ == "__main__":
    main()
