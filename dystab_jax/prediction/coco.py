"""Writes masks as COCO annotations, which annotation tools and training programs import."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from pycocotools import mask as run_lengths

from data_prep.sources.discover import list_images
from dystab_jax.prediction.objects import ObjectTracker
from dystab_jax.prediction.segmented import SegmentedFrame, VideoFacts
from dystab_jax.prediction.written_files import append_text

CATEGORY = {"id": 1, "name": "object", "supercategory": ""}
"""The only one: what moves by itself has no class here."""


class CocoFile:
    """Writes annotations.json with the masks as compressed run lengths (RLE), pixel by pixel.

    Every frame is an image. It has one annotation, or one for each of its objects; none where the
    mask is empty. An object keeps its number as ``track_id``, also among the ``attributes``, where
    CVAT looks for what it does not know.

    ``iscrowd`` is 0 though COCO's own files use run lengths for crowds alone: 1 would have trainers
    leave the object out and scorers ignore it, while pycocotools, detectron2 and CVAT read run
    lengths by their form. Tools that take polygons alone need them converted.

    ``file_name`` is the frame's in a folder of frames. Frames of a video file are called 00000.jpg,
    00001.jpg, ..., as this extracts them::

        ffmpeg -i VIDEO -fps_mode passthrough -start_number 0 -q:v 2 %05d.jpg

    Annotations go to the file frame by frame; a line on each frame, its name and size, is held.
    """

    def __init__(self, path: Path, facts: VideoFacts, tracker: ObjectTracker | None):
        """Writes nothing yet.

        Args:
          path: of the file.
          facts: of the video, or of an image by itself, whose ``path`` is that of its file.
          tracker: numbers the objects; None: what is in the mask is one object.
        """
        self._path, self._tracker = path, tracker
        files = [] if facts.is_file else [facts.path]
        if not facts.is_file and facts.path.is_dir():
            files = list_images(facts.path)
        self._files = {path.stem: path.name for path in files}
        self._images: list[dict[str, Any]] = []
        self._annotations = 0

    def write(self, frame: SegmentedFrame) -> None:
        """Writes the annotations of the next frame; OSError where they cannot be."""
        height, width = frame.image.shape[:2]
        image = {
            "id": len(self._images) + 1,
            "file_name": self._files.get(frame.name, f"{frame.name}.jpg"),
            "width": width,
            "height": height,
        }
        lines = "" if self._images else self._head()
        self._images.append(image)
        for number, mask in self._objects(frame):
            annotation = {"id": self._annotations + 1, "image_id": image["id"], **_region(mask)}
            if self._tracker is not None:
                annotation |= {"track_id": number, "attributes": {"track_id": number}}
            lines += ("," if self._annotations else "") + "\n" + json.dumps(annotation)
            self._annotations += 1
        append_text(self._path, lines)

    def close(self) -> None:
        """Completes the file, of however many frames there were; OSError where it cannot be."""
        head = "" if self._images else self._head()
        images = ",\n".join(map(json.dumps, self._images))
        append_text(self._path, f'{head}\n],\n"images": [\n{images}\n]}}\n')

    @staticmethod
    def _head() -> str:
        return f'{{"info": {{}},\n"categories": [{json.dumps(CATEGORY)}],\n"annotations": ['

    def _objects(self, frame: SegmentedFrame) -> list[tuple[int, np.ndarray]]:
        """Returns the number and mask of every object of a frame."""
        if self._tracker is None:
            return [(1, frame.mask)] if frame.mask.any() else []
        numbers = self._tracker.numbers(frame)
        return [(int(n), numbers == n) for n in np.unique(numbers) if n]


def _region(mask: UInt8[np.ndarray, "H W"] | np.ndarray) -> dict[str, Any]:
    """Describes a mask [H, W] that is not empty: its pixels, their number and the box around."""
    encoded = run_lengths.encode(np.asfortranarray(mask, np.uint8))
    return {
        "category_id": CATEGORY["id"],
        "segmentation": {"size": encoded["size"], "counts": encoded["counts"].decode("ascii")},
        "area": int(run_lengths.area(encoded)),
        "bbox": run_lengths.toBbox(encoded).tolist(),
        "iscrowd": 0,
    }
