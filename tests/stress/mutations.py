"""Thousands of broken inputs of each kind through the command line: none may end in a traceback.

    python tests/stress/mutations.py                            # 2,000 of each kind, then files of 10 MB
    python tests/stress/mutations.py --kind tsv --count 2000 --seed 1
    python tests/stress/mutations.py --kind tsv --seed 1 --only 137

Ends with 1 where a bar is missed; the smallest input that shows each fault stays in the folder of findings, beside
what its command needs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")
sys.path.insert(0, str(Path(__file__).parents[1]))

from stress.cases import Case, UnusableName, make_template
from stress.inputs import KINDS, make_case
from stress.large import large_cases
from stress.outcomes import Outcome, run_apart, run_command


@dataclass(slots=True)
class Tally:
    """What the inputs of a kind came to. Units: `seconds` of the processor."""

    kind: str
    inputs: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    longest: int = 0
    slowest: tuple[float, str] = (0.0, "")
    peak_bytes: int = 0
    tracebacks: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, outcome: Outcome) -> None:
        """Count one input."""
        self.inputs += 1
        self.codes["none" if outcome.code is None else str(outcome.code)] += 1
        self.tracebacks += outcome.has_traceback
        self.longest = max(self.longest, 0 if outcome.has_traceback else outcome.message_bytes)
        self.slowest = max(self.slowest, (outcome.seconds, name))
        self.peak_bytes = max(self.peak_bytes, outcome.peak_bytes)
        self.faults.update({what for what, _ in outcome.faults})


class Findings:
    """The smallest input of each fault, kept in a folder as `<kind>-<hash of the fault>`."""

    def __init__(self, folder: Path, work: Path) -> None:
        self.folder, self.work = folder, work
        self._sizes: dict[str, int] = {}

    def keep(self, kind: str, name: str, case: Case, outcome: Outcome) -> None:
        """Keep an input that is the first or the smallest to show a fault."""
        size = sum(map(len, case.files.values())) + len(" ".join(case.arguments))
        for what, how in outcome.faults:
            place = self.folder / f"{kind}-{hashlib.sha256(what.encode()).hexdigest()[:8]}"
            if size >= self._sizes.get(place.name, sys.maxsize):
                continue
            self._sizes[place.name] = size
            for part in ("template", "canary"):
                if not (self.folder / part).exists():
                    shutil.copytree(self.work / part, self.folder / part)
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            case.write(place)
            command = shlex.join(["xner", *case.arguments])
            message = outcome.message[-3000:] if outcome.has_traceback else outcome.message[:3000]
            text = f"{name}\n{what}\n\ncd {place} && {command}\n\n{how}\n\n{message}\n"
            (place / "finding.txt").write_text(text, encoding="utf-8", errors="backslashreplace")


def run_kind(kind: str, work: Path, *, indices: Iterable[int], seed: int, findings: Findings) -> Tally:
    """Run the inputs of a kind with these indices, in this process."""
    tally = Tally(kind)
    for index in indices:
        case = make_case(kind, seed, index, work / "template")
        run = partial(run_command, limit_s=case.limit_s)
        with suppress(UnusableName):
            _try(case, run, work / f"{kind}-{index}", f"--kind {kind} --seed {seed} --only {index}", tally, findings)
    return tally


def run_large(kind: str, work: Path, *, findings: Findings) -> Tally:
    """Run the large inputs of a kind, each in a process of its own."""
    tally = Tally(f"{kind}, 10 MB")
    for name, case in large_cases(kind, work / "template"):
        outcome = _try(case, run_apart, work / f"{kind}-large", f"{kind}, {name}", tally, findings)
        cost = f"{outcome.peak_bytes / 1e6:6.0f} MB {outcome.seconds:6.1f} s"
        faults = "; ".join(what for what, _ in outcome.faults)
        sys.stdout.write(f"{kind:9} {name:40} exit {outcome.code} {outcome.message_bytes:8} B {cost}  {faults}\n")
        sys.stdout.flush()
    return tally


def _try(
    case: Case,
    run: Callable[[Sequence[str], Path], Outcome],
    folder: Path,
    name: str,
    tally: Tally,
    findings: Findings,
) -> Outcome:
    before = _state(folder.parent)
    folder.mkdir()
    try:
        case.write(folder)
        own = _state(folder)
        outcome = run(case.arguments, folder)
        changed = [] if case.writes else _differences(own, _state(folder))
    finally:
        shutil.rmtree(folder)
    changed += _differences(before, _state(folder.parent))
    if changed:
        outcome = outcome.with_fault(f"{case.arguments[0]} changed files", ", ".join(changed))
    tally.add(name, outcome)
    findings.keep(tally.kind.partition(",")[0], name, case, outcome)
    return outcome


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    paths = [path for path in folder.rglob("*") if not path.is_dir()]
    return {path.relative_to(folder).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


def _differences(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> list[str]:
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def format_tallies(tallies: Iterable[Tally]) -> Iterator[str]:
    """The table, then every fault with the number of its inputs."""
    yield f"{'kind':16} {'inputs':>6}  {'exit codes':30} {'tracebacks':>10} {'longest':>9} {'peak':>7} {'slowest':>7}"
    for tally in tallies:
        codes = " ".join(f"{code}:{count}" for code, count in sorted(tally.codes.items()))
        yield (
            f"{tally.kind:16} {tally.inputs:6}  {codes:30} {tally.tracebacks:10} {tally.longest:7} B "
            f"{tally.peak_bytes / 1e6:4.0f} MB {tally.slowest[0]:5.1f} s  ({tally.slowest[1]})"
        )
    for tally in tallies:
        for what, count in tally.faults.most_common():
            yield f"{tally.kind}: {count} x {what}"


def main() -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kind", action="append", choices=KINDS, help="may be repeated; all by default")
    parser.add_argument("--count", type=int, default=2000, help="inputs of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="one input, by its number")
    parser.add_argument("--findings", type=Path, default=Path("stress-findings"))
    parser.add_argument("--large", action=argparse.BooleanOptionalAction, default=True, help="files of 10 MB as well")
    options = parser.parse_args()
    indices = range(options.count) if options.only is None else [options.only]
    with tempfile.TemporaryDirectory(prefix="xner-stress-") as folder:
        work = Path(folder)
        os.environ["XDG_CACHE_HOME"] = f"{folder}-cache"
        make_template(work)
        findings = Findings(options.findings.absolute(), work)
        tallies = []
        for kind in options.kind or KINDS:
            if indices:
                tallies.append(run_kind(kind, work, indices=indices, seed=options.seed, findings=findings))
            if options.large and options.only is None:
                tallies.append(run_large(kind, work, findings=findings))
            sys.stdout.write(
                "\n".join(format_tallies([tally for tally in tallies if tally.kind.startswith(kind)])) + "\n\n"
            )
            sys.stdout.flush()
    return int(any(tally.faults for tally in tallies))


if __name__ == "__main__":
    sys.exit(main())
