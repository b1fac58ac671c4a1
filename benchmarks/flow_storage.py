"""Bytes, seconds and error of each way to store a flow field.

    python -m benchmarks.flow_storage [--video FOLDER_OR_FILE] [--size 640 384] [--fields 10]

Fields are estimated by DIS between neighbouring frames. Prints one line for each format: the mean
size of a field, the mean time to encode and to decode it in memory, on one core, and the largest
error of all fields. "record" is what a prepared data set holds.
"""

import argparse
import io
import time
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np

from data_prep.datasets.drawing import draw_video
from data_prep.flow.dis import Dis
from data_prep.flow.formats import FORMATS
from data_prep.sources.discover import list_videos
from dystab_jax.data.encodings import FlowField, decode_flow, encode_flow


def _encode_half(flow: FlowField) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, flow=flow.astype(np.float16))
    return buffer.getvalue()


def _encode_half_compressed(flow: FlowField) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, flow=flow.astype(np.float16))
    return buffer.getvalue()


def _decode_half(data: bytes) -> FlowField:
    with np.load(io.BytesIO(data)) as arrays:
        return arrays["flow"].astype(np.float32)


STORES = {
    "record": (encode_flow, decode_flow),
    ".flo": (FORMATS[".flo"].encode, FORMATS[".flo"].decode),
    "npz, fp16": (_encode_half, _decode_half),
    "npz, fp16, compressed": (_encode_half_compressed, _decode_half),
    "npz, fp32, compressed": (FORMATS[".npz"].encode, FORMATS[".npz"].decode),
    "KITTI png": (FORMATS[".png"].encode, FORMATS[".png"].decode),
}
"""Functions that encode and decode, by the name that is printed."""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", type=Path, help="frames or a video file; default: a drawn video")
    parser.add_argument("--size", type=int, nargs=2, default=(640, 384), metavar=("W", "H"))
    parser.add_argument("--fields", type=int, default=10, help="fields measured")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    fields = list(islice(_estimate(arguments.video, tuple(arguments.size)), arguments.fields))
    longest = max(np.abs(field).max() for field in fields)
    width, height = arguments.size
    print(f"{len(fields)} fields of {width} x {height}, components up to {longest:.1f} px")
    print(f"{'format':22} {'KB/field':>9} {'write, ms':>10} {'read, ms':>9} {'max error, px':>14}")
    for name, (encode, decode) in STORES.items():
        start = time.perf_counter()
        stored = [encode(field) for field in fields]
        written = time.perf_counter()
        restored = [decode(data) for data in stored]
        read = time.perf_counter()
        error = max(np.abs(a - b).max() for a, b in zip(fields, restored, strict=True))
        size = np.mean([len(data) for data in stored]) / 1e3
        write, load = (1e3 * seconds / len(fields) for seconds in (written - start, read - written))
        print(f"{name:22} {size:9.0f} {write:10.1f} {load:9.1f} {error:14.5f}", flush=True)


def _estimate(path: Path | None, size: tuple[int, int]) -> Iterator[FlowField]:
    """Estimates flow from each frame of a video to the next, of a drawn one by default."""
    width, height = size
    if path is None:
        images = iter(draw_video("val", 0, height=height, width=width).frames)
    else:
        images = (frame.image for frame in list_videos(path)[0].read())
    dis = Dis()
    frames = (dis.encode(cv2.resize(i, size, interpolation=cv2.INTER_AREA)) for i in images)
    for first, second in pairwise(frames):
        yield dis.match([first], [second])[0]


if __name__ == "__main__":
    main()
