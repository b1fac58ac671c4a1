"""Every parser of files that users bring, on damaged ones: a result or an error that names them.

Small valid files are cut, flipped, spliced and given huge lengths. Nothing else than the documented
errors may come out, soon, and without memory for what a file merely states.
"""

import io
import json
import re
import resource
import struct
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.datasets.fbms59 import read_definition
from data_prep.flow.formats import read_flow, write_flow
from data_prep.sources.frames import read_image
from data_prep.sources.video_files import VideoFile
from dystab_jax.data.mask_files import read_map, read_mask, read_numbers
from dystab_jax.data.records import RecordSource
from dystab_jax.data.text_files import read_lines
from dystab_jax.networks.torch_files import read_checkpoint
from dystab_jax.pseudo_labels import PseudoLabels
from tests.support.mask_encodings import ENCODINGS
from tests.support.tiny_videos import sliding_texture, write_video
from tests.support.torch_checkpoints import write_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::Warning:PIL")

CASES = 100
SECONDS = 2
"""For one damaged file."""
MEBIBYTES = 400
"""That reading the damaged files of one kind may add to the memory of the process."""
LENGTHS = (
    *(b"\xff\xff", b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"\xff" * 4, b"\xff" * 8),
    *(b"\0" * 4, b"\x00\x00\x00\x40", b"\xff" * 7 + b"\x7f", b"\x00\x00\x40\x00", b"99999999"),
)


def damage(data: bytes, generator: np.random.Generator) -> bytes:
    """Returns the bytes with one to three things done to them; half of these near the beginning."""
    for _ in range(generator.integers(1, 4)):
        reach = max(len(data), 1) if generator.random() < 0.5 else max(min(len(data), 200), 1)
        at, length = int(generator.integers(reach)), int(generator.integers(1, 64))
        match generator.integers(7):
            case 0:
                data = data[: int(generator.integers(len(data) + 1))]
            case 1 | 2 if data:
                flipped = bytearray(data)
                for place in generator.integers(0, reach, generator.integers(1, 6)):
                    flipped[place] = generator.integers(256)
                data = bytes(flipped)
            case 3:
                source = int(generator.integers(reach))
                data = data[:at] + data[source : source + length] + data[at + length :]
            case 4:
                huge = LENGTHS[generator.integers(len(LENGTHS))]
                data = data[:at] + huge + data[at + len(huge) :]
            case 5:
                data = data[:at] + generator.bytes(length) + data[at:]
            case _:
                data = data[:at] + data[at + length :]
    return data


def check(read, path: Path) -> None:
    """Reads a file; fails for other errors than documented ones, and for long reading."""
    begin = time.monotonic()
    try:
        read(path)
    except (ValueError, FileNotFoundError) as error:
        assert type(error) in (ValueError, FileNotFoundError), repr(error)
        assert path.name in str(error), f"does not name the file: {error}"
        assert not re.search(r"object at 0x", str(error)), error
    assert time.monotonic() - begin < SECONDS


# -- samples of each kind --------------------------------------------------------------------------

GENERATOR = np.random.default_rng(5)
WEIGHTS = {
    "conv.weight": GENERATOR.normal(size=(4, 3, 3, 3)).astype(np.float32),
    "norm.count": np.arange(3, dtype=np.int64),
    "fc.bias": GENERATOR.normal(size=5).astype(np.float16),
}
MASK = (GENERATOR.random((12, 20)) > 0.6).astype(np.uint8)
IMAGE = GENERATOR.integers(0, 255, (24, 32, 3), np.uint8)
FLOW = GENERATOR.normal(size=(6, 8, 2)).astype(np.float32)
DEFINITION = """Total number of regions:
2

Scale of region 0:
16777215
Scale of region 1:
255
Total number of frames in this shot:
20
Total number of labeled frames for this shot:
1
Frame number:
0
File name:
cars1_0001_gt.ppm
Input file name:
cars1_0001.jpg
"""


def safetensors(path: Path) -> None:
    header, data = {"__metadata__": {"format": "pt"}}, b""
    kinds = {"float32": "F32", "int64": "I64", "float16": "F16"}
    for name, array in WEIGHTS.items():
        end = len(data) + array.nbytes
        kind = kinds[str(array.dtype)]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [len(data), end]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def image(kind: str, **options):
    def write(path: Path) -> None:
        buffer = io.BytesIO()
        Image.fromarray(IMAGE).save(buffer, kind, **options)
        path.write_bytes(buffer.getvalue())

    return write


def animation(path: Path) -> None:
    pictures = [Image.fromarray(np.roll(IMAGE, step, 1)) for step in range(3)]
    pictures[0].save(path, "PNG", default_image=False, save_all=True, append_images=pictures[1:])


def oriented(path: Path) -> None:
    picture = Image.fromarray(IMAGE)
    exif = picture.getexif()
    exif[274] = 6
    picture.save(path, "JPEG", exif=exif)


def mask(encoding: str):
    return lambda path: ENCODINGS[encoding](MASK).save(path, "PNG")


def labels(path: Path) -> None:
    bits = np.packbits(MASK.reshape(1, -1).repeat(3, 0), axis=-1)
    confidences = {"confidence_phi": np.ones(3, np.float32)}
    PseudoLabels(MASK.shape, {"motion_mask": bits}, confidences).save(path)


def index(path: Path) -> None:
    video = {"video": "dog", "records": [[0, 1], [1, -1]], "groups": ["", ""]}
    path.write_text(json.dumps([video | {"frame_names": ["0", "1"]}]))


def video(codec: str, **options):
    return lambda path: write_video(path, sliding_texture(4, 16, 24), codec, **options)


def read_index(path: Path) -> None:
    source = RecordSource("movers:train", path.parent, path.stem.removeprefix("index-"))
    assert all(isinstance(key.video, str) for key in source.keys)
    assert all(
        isinstance(name, str) for column in (source.groups, source.frame_names) for name in column
    )


def read_video(path: Path) -> None:
    source = VideoFile("dog", path)
    assert source.length() >= 0
    for frame in source.read(lambda note: None):
        assert frame.image.dtype == np.uint8


def read_masks(path: Path) -> None:
    for read in (read_mask, read_numbers, read_map):
        check(read, path)


def read_labels(path: Path) -> None:
    stored = PseudoLabels.load(path)
    for number in range(len(stored)):
        stored[number]


KINDS = {
    "checkpoint.pth": (lambda path: write_checkpoint(path, WEIGHTS), read_checkpoint),
    "legacy.pth": (lambda path: write_checkpoint(path, WEIGHTS, legacy=True), read_checkpoint),
    "checkpoint.safetensors": (safetensors, read_checkpoint),
    **{f"flow{end}": (lambda p: write_flow(p, FLOW), read_flow) for end in (".flo", ".png")},
    **{f"flow{end}": (lambda p: write_flow(p, FLOW), read_flow) for end in (".npy", ".npz")},
    "carsDef.dat": (lambda path: path.write_text(DEFINITION), read_definition),
    "list.txt": (lambda path: path.write_text("\ufeffdog\ncafé\n# x\n", "utf-8"), read_lines),
    "list16.txt": (lambda path: path.write_text("dog\ncafé\n", "utf-16"), read_lines),
    **{f"mask {name.replace(',', '')}.png": (mask(name), read_masks) for name in ENCODINGS},
    "jpeg.jpg": (image("JPEG"), read_image),
    "progressive.jpg": (image("JPEG", progressive=True), read_image),
    "oriented.jpg": (oriented, read_image),
    "png.png": (image("PNG"), read_image),
    "animation.png": (animation, read_image),
    "bmp.bmp": (image("BMP"), read_image),
    "ppm.ppm": (image("PPM"), read_image),
    "webp.webp": (image("WEBP", lossless=True), read_image),
    "tiff.tif": (image("TIFF"), read_image),
    "lzw.tif": (image("TIFF", compression="tiff_lzw"), read_image),
    "mask.bmp": (image("BMP"), read_masks),
    "mask.tif": (image("TIFF", compression="tiff_lzw"), read_masks),
    "labels.npz": (labels, read_labels),
    "index-train.json": (index, read_index),
    "mjpeg.avi": (video("mjpeg"), read_video),
    "mpeg4.mp4": (video("mpeg4"), read_video),
    "gif.gif": (video("gif"), read_video),
    "ffv1.mkv": (video("ffv1"), read_video),
    "raw.y4m": (video("wrapped_avframe"), read_video),
    "mpeg2.ts": (video("mpeg2video"), read_video),
}


@pytest.mark.parametrize("name", KINDS)
def test_damaged_files(name, tmp_path):
    write, read = KINDS[name]
    path = tmp_path / name
    write(path)
    if name != "animation.png":
        read(path)
    whole, generator = path.read_bytes(), np.random.default_rng(list(name.encode()))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(CASES):
        path.write_bytes(damage(whole, generator))
        check(read, path)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < MEBIBYTES * 1024, f"{grown / 1024:.0f} MiB"


# -- files that state more than they hold ----------------------------------------------------------


def stated_png(path: Path) -> None:
    header = struct.pack(">2I5B", 50_000, 50_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"x"))


def stated_chunk(path: Path) -> None:
    write_flow(path, FLOW)
    data = path.read_bytes()
    path.write_bytes(data[:-12] + b"\x7f\xff\xff\xfftEXt" + data[-12:])


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def stated_array(path: Path) -> None:
    write_flow(path, FLOW)
    data = path.read_bytes()
    wide = data.replace(b"(6, 8, 2), }         ", b"(60000, 60000, 2), } ")
    assert wide != data
    path.write_bytes(wide)


def stated_flo(path: Path) -> None:
    path.write_bytes(b"PIEH" + struct.pack("<2i", 1 << 30, 1 << 30) + b"\0" * 64)


def remembering_pickle(path: Path) -> None:
    path.write_bytes(b"\x80\x02}r\xff\xff\xff\x7f.")


def long_pickle(path: Path) -> None:
    path.write_bytes(b"\x80\x04\x8e" + (1 << 62).to_bytes(8, "little") + b"abc.")


def spread_tensor(path: Path) -> None:
    write_checkpoint(path, {"w": np.ones(4, np.float32)}, view=(1 << 30, 4), steps=(0, 1))


def stated_animation(path: Path) -> None:
    video("gif")(path)
    data = bytearray(path.read_bytes())
    data[6:10] = struct.pack("<2H", 16_000, 16_000)
    path.write_bytes(bytes(data))


def packed_zeros(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(50_000_000))


def postscript(path: Path) -> None:
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")


STATED = {
    "pixels.png": (stated_png, read_image),
    "mask.png": (stated_png, read_mask),
    "flow.png": (stated_png, read_flow),
    "chunk.png": (stated_chunk, read_flow),
    "flow.npy": (stated_array, read_flow),
    "flow.flo": (stated_flo, read_flow),
    "remembering.pth": (remembering_pickle, read_checkpoint),
    "long.pth": (long_pickle, read_checkpoint),
    "spread.pth": (spread_tensor, read_checkpoint),
    "packed.pth": (packed_zeros, read_checkpoint),
    "postscript.png": (postscript, read_image),
    "animation.gif": (stated_animation, read_video),
}


@pytest.mark.parametrize("name", STATED)
def test_files_that_state_more_than_they_hold(name, tmp_path):
    write, read = STATED[name]
    path = tmp_path / name
    write(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=re.escape(name)):
        read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEBIBYTES * 1024
