"""Words per second against F1, a point for each student: what a service pays for a score."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def write_plot(path: Path, record: Mapping[str, Any]) -> Path | None:
    """Draw the students of a record of stage `tag` that have scores, as SVG; None without scores or matplotlib."""
    points = speed_points(record)
    if not points or find_spec("matplotlib") is None:
        return None
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "xner"  # equal records give equal files
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for precision, marker in (("float32", "o"), ("int8", "s")):
        own = [point for point in points if point[1] == precision]
        axes.scatter([point[2] for point in own], [100 * point[3] for point in own], marker=marker, label=precision)
    for name in dict.fromkeys(point[0] for point in points):
        speeds = [point[2] for point in points if point[0] == name]
        score = 100 * next(point[3] for point in points if point[0] == name)
        axes.plot(speeds, [score] * len(speeds), color="grey", linewidth=0.8, zorder=0)
        place = {"textcoords": "offset points", "xytext": (-6, 3), "ha": "right", "fontsize": 8}
        axes.annotate(name, (min(speeds), score), **place)
    axes.margins(x=0.15)
    synthetic = " (synthetic text)" if record["workload"]["synthetic"] else ""
    axes.set(xscale="log", xlabel=f"words/s, raw text to entities, one process{synthetic}", ylabel="macro-F1, %")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path


def speed_points(record: Mapping[str, Any]) -> list[tuple[str, str, float, float]]:
    """Student, precision, words per second and macro-F1 of each student that was scored."""
    if record["stage"] != "tag":
        return []
    words = record["workload"]["words_per_sentence"]
    found = []
    for name, model in record["models"].items():
        for precision in model["bytes"]:
            speed = record["raw_text"]["sentences_per_s"].get(f"{name} {precision}")
            if speed is not None and model.get("macro_f1") is not None:
                found.append((name, precision, speed["median"] * words, model["macro_f1"]))
    return found
