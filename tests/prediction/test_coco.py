"""COCO annotations: the reference implementation reads them, and finds the masks in them."""

import contextlib
import io
import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO

from dystab_jax.prediction.coco import CocoFile
from dystab_jax.prediction.files import make_outputs
from dystab_jax.prediction.objects import ObjectTracker
from dystab_jax.prediction.segmented import VideoFacts
from tests.support.drawn_objects import BLUE, Box, draw

TWO = [Box(5, 8, 20, 20), Box(60, 30, 19, 20, BLUE)]
pytestmark = pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning:pycocotools")
SCENES = [TWO, [], TWO[:1], TWO]


def load(folder):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(folder / "annotations.json"))


def write(folder, scenes, is_file=True, instances=False, path=None, **options):
    facts = VideoFacts("drawn", 10.0, path or folder / "drawn.mp4", is_file)
    outputs = make_outputs(["coco", "png"], folder, facts, instances)
    frames = [draw(boxes, t=t, first=t == 0, **options) for t, boxes in enumerate(scenes)]
    for frame, _ in frames:
        for output in outputs:
            output.write(frame)
    for output in outputs:
        output.close()
    return frames


@pytest.mark.parametrize("size", [(60, 100), (61, 101)])
def test_masks_are_those_of_the_images(tmp_path, size):
    write(tmp_path, SCENES, size=size)
    coco = load(tmp_path)
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == [
        f"{t:05d}.jpg" for t in range(4)
    ]
    assert len(coco.anns) == 3  # none where the mask is empty
    for image in coco.loadImgs(coco.getImgIds()):
        assert (image["height"], image["width"]) == size
        name = image["file_name"].replace("jpg", "png")
        mask = cv2.imread(str(tmp_path / "masks" / name), cv2.IMREAD_GRAYSCALE) // 255
        found = coco.loadAnns(coco.getAnnIds(imgIds=image["id"], iscrowd=False))
        assert len(found) == mask.any()
        for annotation in found:
            np.testing.assert_array_equal(coco.annToMask(annotation), mask)
            assert annotation["area"] == mask.sum()
            assert annotation["bbox"] == list(cv2.boundingRect(mask))
            assert annotation["iscrowd"] == 0 and "track_id" not in annotation
            assert isinstance(annotation["segmentation"]["counts"], str)
            assert coco.loadCats(annotation["category_id"])[0]["name"] == "object"


def test_objects(tmp_path):
    frames = write(tmp_path, SCENES, instances=True)
    coco = load(tmp_path)
    assert [len(coco.getAnnIds(imgIds=t + 1)) for t in range(4)] == [2, 0, 1, 2]
    assert len({annotation["id"] for annotation in coco.anns.values()}) == 5
    for annotation in coco.anns.values():
        _, true = frames[annotation["image_id"] - 1]
        number = annotation["track_id"]
        assert annotation["attributes"] == {"track_id": number}
        np.testing.assert_array_equal(coco.annToMask(annotation), true == number)
        assert annotation["area"] == (true == number).sum()


@pytest.mark.parametrize("scenes", [[], [[]], [[], []], [TWO]])
def test_few_frames(tmp_path, scenes):
    write(tmp_path, scenes)
    coco = load(tmp_path)
    assert len(coco.imgs) == len(scenes) and len(coco.anns) == sum(map(bool, scenes))
    assert json.loads((tmp_path / "annotations.json").read_text())["categories"][0]["id"] == 1


def test_frames_of_a_folder_keep_their_names(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for name in ("00000.PNG", "00001.jpeg"):
        (folder / name).write_bytes(b"")
    write(tmp_path, [TWO, TWO], is_file=False, path=folder)
    names = [image["file_name"] for image in load(tmp_path).imgs.values()]
    assert names == ["00000.PNG", "00001.jpeg"]


def test_names_need_not_be_ascii(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    (folder / 'é"\\.jpg').write_bytes(b"")
    output = CocoFile(
        tmp_path / "annotations.json", VideoFacts("a", 10.0, folder, False), ObjectTracker()
    )
    frame, _ = draw(TWO)
    object.__setattr__(frame, "name", 'é"\\')
    output.write(frame)
    output.close()
    assert load(tmp_path).imgs[1]["file_name"] == 'é"\\.jpg'


def test_memory_does_not_grow_with_the_masks(tmp_path):
    output = CocoFile(
        tmp_path / "annotations.json", VideoFacts("a", 10.0, tmp_path / "a.mp4", True), None
    )
    sizes = []
    for t in range(3):
        output.write(draw(TWO, t=t)[0])
        sizes.append((tmp_path / "annotations.json").stat().st_size)
    assert sizes[0] < sizes[1] < sizes[2]  # they are in the file already
    output.close()
    assert len(load(tmp_path).anns) == 3


def test_full_and_single_pixels(tmp_path):
    write(tmp_path, [[Box(0, 0, 100, 60)], [Box(99, 59, 1, 1)]])
    areas = [annotation["area"] for annotation in load(tmp_path).anns.values()]
    assert areas == [6000, 1]
    assert run_lengths.area(load(tmp_path).anns[1]["segmentation"]) == 6000
