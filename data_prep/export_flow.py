"""Writes the flow of a prepared data set as files that other tools read.

    python -m data_prep.export_flow --data_dir=data --data=folder/mine:train --output=flow

    OUTPUT/gap1/VIDEO/FRAME.flo     flow from FRAME to the next frame, in pixels of the file's field
    OUTPUT/gap-1/VIDEO/FRAME.flo    from FRAME to the frame before; gap2, gap-2, ... likewise

This is the layout that ``--flow=precomputed --flow_source=OUTPUT`` of `data_prep.prepare` reads. A
data set prepared from it, with the same --flow_size, holds the same flow to the last bit. Every
record of the split gives one file, so a split of labelled frames gives the flow from those only. A
run that was interrupted continues where it was.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

from tqdm import tqdm

from data_prep.flow.formats import write_flow
from dystab_jax.data.records import JoinedSource, RecordSource, decode_record, open_source
from dystab_jax.runtime.atomic_files import write_whole
from dystab_jax.runtime.paths import user_path

FORMATS = {"flo": ".flo", "kitti": ".png", "npz": ".npz"}
DIRECTIONS = ("forward", "backward", "both")


def export_flow(
    data_dir: str | Path,
    data: str,
    output: str | Path,
    format: str = "flo",
    direction: str = "both",
    progress: bool = True,
) -> int:
    """Writes one file for each record.

    Args:
      data_dir: where prepared data sets lie.
      data: DATASET:SPLIT, see `dystab_jax.data.records.open_source`.
      output: directory of the files; new, or that of an interrupted run.
      format: one of `FORMATS`; kitti rounds to 1/64 px, which loses nothing of a stored flow, and
        holds less than 512 px.
      direction: one of `DIRECTIONS`: flow to later frames, to earlier ones, or both.
      progress: show a progress bar.

    Returns:
      How many files were written; others were there.

    Raises:
      FileNotFoundError: the data set is not prepared.
      ValueError: it has no flow, the output holds something else, a record is damaged, or the
        format cannot hold a flow.
    """
    for name, value, known in (("format", format, FORMATS), ("direction", direction, DIRECTIONS)):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; expected one of {tuple(known)}")
    source = open_source(data_dir, data)
    if not source.has_flow:
        raise ValueError(f"{data}: still images have no flow")
    output = user_path(output)
    _claim(output, {"data": data, "format": format, "prepared": _digest(source)})
    paths = {
        position: output / f"gap{gap}" / video / f"{frame_name}{FORMATS[format]}"
        for position, ((video, _, gap), frame_name) in enumerate(
            zip(source.keys, source.frame_names, strict=True)
        )
        if direction == "both" or (gap > 0) == (direction == "forward")
    }
    missing = {position: path for position, path in paths.items() if not path.exists()}
    for position, path in tqdm(missing.items(), desc="flow", unit="field", disable=not progress):
        parts = ("flow_forward",)
        record = decode_record(source.some(position, parts), parts)
        write_flow(path, record["flow_forward"])
    return len(missing)


def _claim(output: Path, contents: dict[str, str]) -> None:
    """Marks a directory as that of this export, so that no file of another one is taken for ours.

    Raises:
      ValueError: it is in use.
    """
    note, text = output / "export.json", json.dumps(contents, indent=2)
    if note.is_file():
        if note.read_text() != text:
            raise ValueError(
                f"{output} holds flow of another export, see {note}; choose another --output"
            )
    elif output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"{output} holds something else; choose another --output")
    write_whole(note, text)


def _digest(source: RecordSource | JoinedSource) -> str:
    """Returns a digest that differs when the data set was prepared anew, with other sizes."""
    parts = source.parts if isinstance(source, JoinedSource) else [source]
    described = [(part.directory / "dataset_info.json").read_bytes() for part in parts]
    return hashlib.sha256(b"".join(described)).hexdigest()


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns 0, or 2 where something is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.export_flow",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--data_dir", required=True, help="where prepared data sets lie, e.g. data")
    add("--data", required=True, help="DATASET:SPLIT, e.g. davis2016:val, folder/NAME:train")
    add("--output", required=True, help="directory of the files")
    add("--format", default="flo", choices=FORMATS, help="default: flo")
    add(
        "--direction",
        default="both",
        choices=DIRECTIONS,
        help="flow to later frames, to earlier ones, or both (default; preparing needs both)",
    )
    options = parser.parse_args(arguments)
    try:
        written = export_flow(**vars(options))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        return 130
    print(f"wrote {written} files in {options.output}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
