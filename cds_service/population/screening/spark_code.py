"""What executors need to run the rules: our package, which can be sent, and compiled libraries, which cannot."""

from __future__ import annotations

import importlib.metadata
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cds_service.population.screening import spark_executor
from cds_service.population.screening.spark_session import SparkFailed

if TYPE_CHECKING:
    from pyspark import SparkContext

NEEDED = ("fhir.resources", "msgspec", "orjson", "pyarrow", "pydantic", "PyYAML")
"""What reading, rules and Parquet import of others. Compiled, so that no zip can bring them."""
LEFT_OUT = {"docs", "scenarios", "__pycache__", "static", "templates"}
HOW_TO_GIVE = (
    "Give the executors an environment with the same versions (in a checkout: pip install '.[spark]'): set "
    "PYSPARK_PYTHON to its Python where each machine has it, or pack it (venv-pack -o env.tar.gz) and send it with "
    "--conf spark.archives=env.tar.gz#env and PYSPARK_PYTHON=./env/bin/python."
)


def packed(folder: Path) -> Path:
    """Our package with its content and its version as a zip in `folder`, which Spark unpacks on each executor."""
    path = folder / f"{spark_executor.SENT}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for top, below in (("cds_service", ""), ("cds_service.cards", "cards/")):
            root = Path(str(files(top)))
            for file in sorted(root.rglob("*")):
                name = file.relative_to(root)
                sent = below or name.parts[0] != "cards"
                if file.is_file() and sent and not LEFT_OUT & set(name.parts):
                    made.write(file, f"cds_service/{below}{name.as_posix()}")
        about = importlib.metadata.distribution("magnesium-cds")
        made.writestr(f"magnesium_cds-{about.version}.dist-info/METADATA", about.read_text("METADATA") or "")
    return path


def by_value() -> None:
    """Let PySpark send functions of spark_executor whole, not by a name that an executor may not know."""
    from pyspark.cloudpickle import register_pickle_by_value

    register_pickle_by_value(spark_executor)  # type: ignore[no-untyped-call]


def reports(context: SparkContext, sent: bool, seen: Sequence[tuple[str, int]], token: Path) -> list[Mapping[str, Any]]:
    """What the executors report, one of each that was met, in the order of their names. More tasks than cores, each a
    moment long, so that they spread. One that comes later checks itself at each task."""
    ask = partial(spark_executor.probe, NEEDED, sent, tuple(seen), str(token))
    tasks = max(4, 2 * context.defaultParallelism)
    met = context.parallelize(range(tasks), tasks).mapPartitions(ask).collect()
    return [told for _, told in sorted({told["here"]: told for told in met}.items())]


def send_or_refuse(
    context: SparkContext, seen: Sequence[tuple[str, int]], token: Path, scratch: Path, digest: str
) -> tuple[bool, int]:
    """Check the executors, send them our package where one has none. Whether it was sent, and how many were met.

    `seen`: input files with their sizes; `token`: a file in the folder of the results. Raises SparkFailed with what
    an executor lacks.
    """
    met = reports(context, False, seen, token)
    refuse(met, digest)
    if all(told["digest"] for told in met):
        return False, len(met)
    context.addArchive(f"{packed(scratch)}#{spark_executor.SENT}")
    met = reports(context, True, seen, token)
    refuse(met, digest)
    if missing := [told["here"] for told in met if not told["digest"]]:
        raise SparkFailed(f"magnesium-cds was sent and cannot be found on: {'; '.join(missing)}.")
    return True, len(met)


def refuse(met: Sequence[Mapping[str, Any]], digest: str) -> None:
    """Raise SparkFailed for the first thing that an executor lacks, and on how many."""
    ours = spark_executor.versions_of(NEEDED)
    for told in met:
        faults = [
            f"{name} is missing" if has is None else f"{name} is {has}, here {ours[name]}"
            for name, has in told["versions"].items()
            if has != ours[name]
        ]
        more = f" ({len(met)} executors were asked.)"
        if faults:
            lacks = f"An executor ({told['here']}) cannot run the rules: {', '.join(faults)}."
            raise SparkFailed(f"{lacks}{more} {HOW_TO_GIVE}")
        if told["error"]:
            raise SparkFailed(f"An executor ({told['here']}) cannot import magnesium-cds: {told['error']}.{more}")
        if told["digest"] not in (None, digest):
            raise SparkFailed(
                f"An executor ({told['here']}) has another version of magnesium-cds or of its rules than this command. "
                f"Install the same there, or remove it: then it is sent.{more}"
            )
        if told["not_seen"]:
            count = len(told["not_seen"])
            raise SparkFailed(
                f"An executor ({told['here']}) does not see {told['not_seen'][0]}"
                + (f" and {count - 1} more" if count > 1 else "")
                + f" as this command does. Put the input on a file system that all share.{more}"
            )
        if told["not_written"]:
            raise SparkFailed(
                f"An executor ({told['here']}) cannot write to the folder of --out. Give a folder on a file system "
                f"that driver and executors share at the same path.{more}"
            )
