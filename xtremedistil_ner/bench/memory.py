"""Resident memory of a separate process that only tags.

It is read from /proc, so on Linux alone: `getrusage` of a child begins with the memory of its parent.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from xtremedistil_ner.errors import ResourceError

_STATUS = Path("/proc/self/status")
_PROGRAM = """
import sys
from xtremedistil_ner import Tagger
tagger = Tagger.from_pretrained(sys.argv[1], precision=sys.argv[2])
with open(sys.argv[3], encoding="utf-8") as texts:
    for _ in tagger.tag_stream(texts):
        pass
with open("/proc/self/status", encoding="ascii") as status:
    sys.stdout.write(next(line.split()[1] for line in status if line.startswith("VmHWM:")))
"""


def tagging_memory(export: Path, precision: str, texts: Sequence[str]) -> int | None:
    """Bytes that a fresh process holds at most while it loads an export and tags some texts; None except on Linux.

    Raises: ResourceError when the process fails.
    """
    if not _STATUS.exists():
        return None
    with tempfile.TemporaryDirectory(prefix="xner-bench-") as folder:
        path = Path(folder, "texts.txt")
        path.write_text("\n".join(texts) + "\n", encoding="utf-8")
        command = [sys.executable, "-c", _PROGRAM, str(export.resolve()), precision, str(path)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise ResourceError(f"A process that tags {export} ended with {done.returncode}: {done.stderr[-500:]}")
    return 1024 * int(done.stdout)
