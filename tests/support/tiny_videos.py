"""Tiny videos with a known flow, for the tests of data preparation."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np


def sliding_texture(
    count: int, height: int = 48, width: int = 64, shift: tuple[int, int] = (2, 1), seed: int = 0
) -> np.ndarray:
    """A smooth random texture that moves by ``shift`` = (right, down) pixels per frame.

    Returns:
      uint8 [count, height, width, 3]; the flow over a gap g is g * shift everywhere.
    """
    right, down = shift
    margin_x, margin_y = abs(right) * count, abs(down) * count
    size = (height + 2 * margin_y, width + 2 * margin_x, 3)
    texture = np.random.default_rng(seed).uniform(0, 1, size)
    texture = cv2.GaussianBlur(texture, (0, 0), 1.5)
    texture = np.uint8(255 * (texture - texture.min()) / np.ptp(texture))
    frames = []
    for t in range(count):
        top, left = margin_y - t * down, margin_x - t * right
        frames.append(texture[top : top + height, left : left + width])
    return np.stack(frames)


def write_frames(folder: Path, frames: np.ndarray, ending: str = ".png", start: int = 0) -> Path:
    """Writes RGB frames as images START, START+1, ..."""
    folder.mkdir(parents=True)
    for t, frame in enumerate(frames, start):
        assert cv2.imwrite(str(folder / f"{t}{ending}"), frame[..., ::-1])
    return folder


def write_video(
    path: Path,
    frames: np.ndarray,
    codec: str = "mjpeg",
    pixels: str = "",
    options: dict[str, str] | None = None,
    times: Sequence[float] | None = None,
    rotation: int = 0,
    pixel_ratio: Fraction | int = 1,
    muxer: dict[str, str] | None = None,
) -> Path:
    """Writes RGB frames as a video file of 10 frames per second, or with these times."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = pixels or {"mjpeg": "yuvj420p", "gif": "rgb8", "png": "rgb24"}.get(codec, "yuv420p")
    with av.open(f"file:{path}", "w", options=muxer or {}) as container:
        stream = container.add_stream(codec, 10, options=options or {})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        if not codec.startswith("lib"):
            stream.bit_rate = 8_000_000
        stream.codec_context.sample_aspect_ratio = pixel_ratio
        if rotation:
            stream.set_display_rotation(rotation)
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for t, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = round(1000 * times[t]), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_masks(folder: Path, masks: dict[str, np.ndarray]) -> Path:
    """Writes masks as FRAME.png, levels as they are."""
    folder.mkdir(parents=True)
    for name, mask in masks.items():
        assert cv2.imwrite(str(folder / f"{name}.png"), mask)
    return folder


def files_of(directory: Path) -> dict[str, bytes]:
    """Relative path and bytes of every file below a directory."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
