"""Flow of other tools into a data set and out of one; what is wrong with it is found."""

import json
import shutil

import cv2
import numpy as np
import pytest

from data_prep import export_flow as export_module
from data_prep.datasets.drawing import draw_video
from data_prep.export_flow import export_flow, main
from data_prep.flow.dis import Dis
from data_prep.flow.formats import ENDINGS, read_flow, write_flow
from data_prep.flow.mistakes import Evidence, grey_levels, list_mistakes
from data_prep.flow.precomputed import find_folder
from data_prep.prepare import BadVideosError
from dystab_jax.data.records import decode_record, open_source
from dystab_jax.data.resize import resize_flow
from tests.support.tiny_sets import count_videos, prepare_here
from tests.support.tiny_videos import files_of, sliding_texture, write_frames, write_video

SHIFT = (2, 1)


def write_flows(
    folder, frames=4, max_gap=1, size=(48, 64), scale=(1, 1), ending=".flo", video="a", layout="gap"
):
    """The true flow of `sliding_texture`, in the layout of `data_prep.flow.precomputed`."""
    for gap in (sign * each for each in range(1, max_gap + 1) for sign in (1, -1)):
        vector = np.float32([SHIFT[0] * scale[0] * gap, SHIFT[1] * scale[1] * gap])
        for t in range(max(0, -gap), min(frames, frames - gap)):
            place = folder / f"{layout}{gap}" / video
            write_flow(place / f"{t}{ending}", np.broadcast_to(vector, (*size, 2)))
    return folder


@pytest.fixture
def videos(tmp_path):
    """One video of four frames, 64x48, that moves by SHIFT."""
    write_frames(tmp_path / "videos" / "a", sliding_texture(4, shift=SHIFT))
    return tmp_path / "videos"


@pytest.fixture
def flows(tmp_path):
    return write_flows(tmp_path / "flows")


def prepare_from(videos, flows, **options):
    """Prepares the set beside the videos, with flow from files."""
    options = {"flow": "precomputed", "flow_source": flows, "max_gap": 1} | options
    return prepare_here(videos, videos.parent / "data", **options)


def records_of(videos, spec="folder/set:train"):
    source = open_source(videos.parent / "data", spec)
    return {key[1:]: decode_record(source[i]) for i, key in enumerate(source.keys)}


# --- Into a data set ------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_file_reaches_its_record(videos, flows, tmp_path, ending):
    write_flows(tmp_path / "all", max_gap=2, ending=ending)
    odd = np.full((48, 64, 2), SHIFT, np.float32) + np.float32([0.25, 0.125])
    write_flow(tmp_path / "all" / "gap1" / "a" / f"1{ending}", odd)
    done = prepare_from(videos, tmp_path / "all", max_gap=2)
    records = records_of(videos)
    assert len(records) == 2 * (3 + 2)
    for (t, gap), record in records.items():
        assert record["estimator"] == "precomputed"
        expected = (
            odd if (t, gap) == (1, 1) else np.broadcast_to(np.multiply(SHIFT, gap), odd.shape)
        )
        np.testing.assert_array_equal(record["flow_forward"], expected)
        mirrored = records[t + gap, -gap]
        np.testing.assert_array_equal(record["flow_backward"], mirrored["flow_forward"])
    said = json.loads((done / "preparation.json").read_text())
    assert said["flow"] == "precomputed" and said["flow_source"] == str(tmp_path / "all")


@pytest.mark.parametrize("layout", ["Flows_gap{}", "Flows_gap{}/480p", "flow.gap{}/x", "gap{}"])
def test_layouts_that_are_found(videos, flows, layout):
    for gap in (1, -1):
        there = flows.parent / "other" / layout.format(gap)
        there.parent.mkdir(parents=True, exist_ok=True)
        (flows / f"gap{gap}").rename(there)
    prepare_from(videos, flows.parent / "other")
    assert len(records_of(videos)) == 6


@pytest.mark.parametrize("name", ["gap10", "gap1x", "nogap1", "gap-1"])
def test_folders_that_are_not_those_of_the_gap(tmp_path, name):
    (tmp_path / name / "a").mkdir(parents=True)
    assert find_folder(tmp_path, "a", 1) is None


def test_pictures_of_flow_beside_it_are_left_alone(videos, flows):
    for gap in (1, -1):
        pictures = flows / f"FlowImages_gap{gap}" / "480p" / "a"
        pictures.mkdir(parents=True)
        cv2.imwrite(str(pictures / "0.png"), np.zeros((48, 64, 3), np.uint8))
    prepare_from(videos, flows)
    shutil.rmtree(flows / "gap1")
    with pytest.raises(ValueError, match="FlowImages_gap1/480p/a/0.png: decodes to uint8"):
        prepare_from(videos, flows, overwrite=True)


@pytest.mark.parametrize("ending", [".flo", ".png"])
def test_two_resolutions_must_be_told_apart(videos, tmp_path, ending):
    flows = write_flows(tmp_path / "flows", ending=ending)
    shutil.copytree(flows / "gap1", flows / "Flows_gap1" / "1080p")
    both = f"{flows}/Flows_gap1/1080p/a and {flows}/gap1/a both hold flow over gap 1"
    with pytest.raises(BadVideosError, match=both):
        prepare_from(videos, flows)


def test_video_files_have_five_digits(tmp_path):
    write_video(tmp_path / "videos" / "b.avi", sliding_texture(2))
    for gap, name in ((1, "00000"), (-1, "00001")):
        flow = np.full((48, 64, 2), np.multiply(SHIFT, gap), np.float32)
        write_flow(tmp_path / "flows" / f"gap{gap}" / "b" / f"{name}.flo", flow)
    prepare_from(tmp_path / "videos", tmp_path / "flows")
    assert len(records_of(tmp_path / "videos")) == 2


def test_parallel_runs_read_the_same(tmp_path):
    for name in "ab":
        write_frames(tmp_path / "videos" / name, sliding_texture(3))
        write_flows(tmp_path / "flows", frames=3, video=name)
    options = {"flow": "precomputed", "flow_source": tmp_path / "flows", "max_gap": 1}
    one = prepare_here(tmp_path / "videos", tmp_path / "one", jobs=1, **options)
    two = prepare_here(tmp_path / "videos", tmp_path / "two", jobs=2, **options)
    assert files_of(one) == files_of(two)


# --- Sizes and unknown vectors --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "flow_size"),
    [
        ((24, 32), "native"),  # half the size
        ((96, 128), "native"),
        ((48, 64), "32x24"),
        ((24, 24), "24x24"),  # stretched, just as --flow_size has it
        ((48, 64), "24x24"),
        ((7, 10), "native"),  # 4:3 but for rounding
    ],
)
def test_fields_of_other_sizes_are_scaled_with_their_vectors(videos, tmp_path, size, flow_size):
    write_flows(tmp_path / "flows", size=size, scale=(size[1] / 64, size[0] / 48))
    prepare_from(videos, tmp_path / "flows", flow_size=flow_size)
    wanted = (48, 64) if flow_size == "native" else tuple(map(int, flow_size.split("x")))[::-1]
    flow = records_of(videos)[0, 1]["flow_forward"]
    assert flow.shape == (*wanted, 2)
    expected = np.multiply(SHIFT, (wanted[1] / 64, wanted[0] / 48))
    np.testing.assert_allclose(flow, np.broadcast_to(expected, flow.shape), atol=1 / 32)


@pytest.mark.parametrize(
    ("size", "advice"),
    [
        ((48, 60), "; if frames were stretched to that size, use --flow_size=60x48"),
        ((64, 64), "neither cropped nor padded$"),  # larger than the frame, which is not enlarged
    ],
)
def test_fields_of_other_proportions_are_refused(videos, tmp_path, size, advice):
    write_flows(tmp_path / "flows", size=size)
    message = f"gap1/a/0.flo: a field of {size[1]}x{size[0]} for a frame of 64x48, of other .*"
    with pytest.raises(BadVideosError, match=f"(?m){message}{advice}"):
        prepare_from(videos, tmp_path / "flows")


def test_advice_for_upright_videos_is_wide_by_high(tmp_path):
    frames = sliding_texture(2, height=64, width=48)
    write_frames(tmp_path / "videos" / "a", frames)
    scale = (40 / 48, 1)
    write_flows(tmp_path / "flows", frames=2, size=(64, 40), scale=scale)
    with pytest.raises(BadVideosError, match="use --flow_size=64x40"):
        prepare_from(tmp_path / "videos", tmp_path / "flows")
    prepare_from(tmp_path / "videos", tmp_path / "flows", flow_size="64x40")
    assert records_of(tmp_path / "videos")[0, 1]["flow_forward"].shape == (64, 40, 2)


def test_few_unknown_vectors_become_those_nearby(videos, flows):
    flow = np.full((48, 64, 2), SHIFT, np.float32)
    flow[:, 32:] += np.float32([0.25, 0])
    holes = flow.copy()
    holes[10:20, :5] = np.nan
    holes[30, 40:44] = np.nan
    write_flow(flows / "gap1" / "a" / "0.flo", holes)
    prepare_from(videos, flows)
    np.testing.assert_array_equal(records_of(videos)[0, 1]["flow_forward"], flow)


@pytest.mark.parametrize("ending", [".flo", ".npy", ".png"])
@pytest.mark.parametrize("rows", [4, 48])
def test_many_unknown_vectors_are_refused(videos, flows, rows, ending):
    holes = np.full((48, 64, 2), SHIFT, np.float32)
    holes[:rows] = np.nan
    (flows / "gap-1" / "a" / "2.flo").unlink()
    write_flow(flows / "gap-1" / "a" / f"2{ending}", holes)
    share = f"{rows / 48:.1%}"
    with pytest.raises(
        BadVideosError, match=f"gap-1/a/2{ending}: {share} of its vectors are unknown"
    ):
        prepare_from(videos, flows)


# --- What is missing or has changed ---------------------------------------------------------------


def test_missing_gaps_are_named_before_anything_is_done(videos, flows):
    with pytest.raises(ValueError, match=r"no folder gap2.* there are: gap-1 gap1\. .*=1 would do"):
        prepare_from(videos, flows, max_gap=3)
    shutil.rmtree(flows / "gap-1")
    with pytest.raises(ValueError, match="no folder gap-1, .* there are: gap1. No --max_gap will"):
        prepare_from(videos, flows)
    shutil.rmtree(flows / "gap1")
    with pytest.raises(ValueError, match="no folder gap1, .* there are: none of the kind"):
        prepare_from(videos, flows)
    assert not (videos.parent / "data").exists()


def test_missing_file_is_named(videos, tmp_path):
    flows = write_flows(tmp_path / "flows", max_gap=2, layout="Flows_gap")
    (flows / "Flows_gap-2" / "a" / "3.flo").unlink()
    message = (
        f"{flows}/Flows_gap-2/a/3.flo (or .npz .npy .png): no such file; expected flow from "
        "frame 3 to frame 1. With what is there, --max_gap=1 would do"
    )
    with pytest.raises(BadVideosError) as error:
        prepare_from(videos, flows, max_gap=2)
    assert message in str(error.value)
    prepare_from(videos, flows, max_gap=1)
    shutil.rmtree(flows / "Flows_gap1" / "a")
    with pytest.raises(BadVideosError, match="Flows_gap1/a/0.flo .*No --max_gap will do"):
        prepare_from(videos, flows, overwrite=True)


def test_changed_flow_files_are_noticed(tmp_path, monkeypatch):
    for name in "abc":
        write_frames(tmp_path / "videos" / name, sliding_texture(3))
        write_flows(tmp_path / "flows", frames=3, video=name)
    broken = tmp_path / "flows" / "gap1" / "c" / "1.flo"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-1])
    with pytest.raises(BadVideosError, match="c/1.flo: .* it is cut off"):
        prepare_from(tmp_path / "videos", tmp_path / "flows")
    names = count_videos(monkeypatch)
    broken.write_bytes(whole)
    vectors = np.broadcast_to(np.float32([-1.75, -0.75]), (48, 64, 2))
    write_flow(tmp_path / "flows" / "gap-1" / "b" / "2.flo", vectors)
    prepare_from(tmp_path / "videos", tmp_path / "flows")
    assert names == ["b", "c"]
    source = open_source(tmp_path / "data", "folder/set:train")
    position = source.keys.index(("b", 2, -1))
    assert (decode_record(source[position])["flow_forward"] == vectors).all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"flow_source": None}, ValueError, "precomputed needs --flow_source"),
        ({"flow": "dis"}, ValueError, "--flow_source is for --flow=precomputed; --flow=dis"),
        ({"flow_source": "none"}, FileNotFoundError, "none: no such directory; check --flow_so"),
        ({"flow_weights": "a.pth"}, ValueError, "--flow_weights is for the networks"),
    ],
)
def test_arguments_that_make_no_sense(videos, flows, options, error, message):
    with pytest.raises(error, match=message):
        prepare_from(videos, flows, **options)


# --- Vectors that are wrong -----------------------------------------------------------------------

HEIGHT, WIDTH = 48, 64
MISTAKES = {
    "flow of the opposite direction": lambda flow, gap: -flow,
    "flow with dx and dy exchanged": lambda flow, gap: flow[..., ::-1],
    "flow with dy upwards": lambda flow, gap: flow * [1, -1],
    "flow in halves of the image, -1 to 1": lambda flow, gap: flow / [WIDTH / 2, HEIGHT / 2],
    "flow in shares of the image, 0 to 1": lambda flow, gap: flow / [WIDTH, HEIGHT],
    "flow of 1/2 the true length": lambda flow, gap: flow / 2,
    "flow of 1/4 the true length": lambda flow, gap: flow / 4,
    "flow of 1/8 the true length": lambda flow, gap: flow / 8,
    "flow of 1/20 the true length": lambda flow, gap: flow / 20,
    "flow of 2 times the true length": lambda flow, gap: flow * 2,
    "flow of 4 times the true length": lambda flow, gap: flow * 4,
    "flow of 8 times the true length": lambda flow, gap: flow * 8,
    "flow of 1/3 the true length": lambda flow, gap: flow / gap,  # over one frame, not three
    "flow of 3 times the true length": lambda flow, gap: flow * gap,
}


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_recognised(name, sign):
    gap = 3 if "3" in name else 1
    first, second = map(grey_levels, sliding_texture(2, shift=(3 * sign, 2 * sign)))
    true = np.full((HEIGHT, WIDTH, 2), [3 * sign, 2 * sign], np.float32)
    evidence = Evidence(list_mistakes(gap, (HEIGHT, WIDTH)))
    evidence.add(first, second, MISTAKES[name](true, gap).astype(np.float32))
    verdict = evidence.verdict()
    assert verdict.mistake.looks_like == name
    assert verdict.undone < 1 < verdict.given
    true_evidence = Evidence(list_mistakes(gap, (HEIGHT, WIDTH)))
    true_evidence.add(first, second, true)
    assert true_evidence.verdict() is None


def test_video_with_wrong_vectors_is_not_prepared(videos, tmp_path):
    flows = write_flows(tmp_path / "flows", max_gap=2)
    (flows / "gap2").rename(flows / "new")
    (flows / "gap-2").rename(flows / "gap2")
    (flows / "new").rename(flows / "gap-2")
    for gap, old, new in ((2, 2, 0), (2, 3, 1), (-2, 0, 2), (-2, 1, 3)):
        (flows / f"gap{gap}" / "a" / f"{old}.flo").rename(flows / f"gap{gap}" / "a" / f"{new}.flo")
    with pytest.raises(
        BadVideosError,
        match=r"videos/a: flow of frame 2: .*flows/gap2/a/0.flo: looks like flow of the opposite "
        r"direction: with that undone, frames of gap 2 differ by 0\.\d grey levels, as given by "
        r"\d+\.\d; "
        "flow must lead from the frame that a file is named after to the one GAP frames later",
    ):
        prepare_from(videos, flows, max_gap=2)
    assert not list((tmp_path / "data").rglob("*.zip"))
    prepare_from(videos, flows, max_gap=1)


def test_wrong_vectors_of_a_field_of_another_size(videos, tmp_path):
    # Normalised by the size of the field, which is not the frame's.
    write_flows(tmp_path / "flows", size=(96, 128), scale=(2 / 64, 2 / 48))
    with pytest.raises(BadVideosError, match="looks like flow in halves of the image, -1 to 1"):
        prepare_from(videos, tmp_path / "flows")


@pytest.mark.parametrize("number", [0, 3])  # looked at for mistakes, and between those
@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ((0, 0), "all its vectors are 0, but the frames differ: .* Did the tool that wrote it"),
        ((-4, 3), r"all its vectors are \(-4.00, 3.00\), but the frames differ"),
        ((500, 0), "100% of its vectors lead out of the frame .median length 500 px in 64x48"),
    ],
)
def test_vectors_that_nothing_speaks_for_are_refused(tmp_path, vectors, message, number):
    write_frames(tmp_path / "videos" / "a", sliding_texture(5, shift=SHIFT))
    flows = write_flows(tmp_path / "flows", frames=5)
    wrong = np.broadcast_to(np.float32(vectors), (48, 64, 2))
    write_flow(flows / "gap1" / "a" / f"{number}.flo", wrong)
    with pytest.raises(BadVideosError, match=f"gap1/a/{number}.flo: {message}"):
        prepare_from(tmp_path / "videos", flows)
    assert not list((tmp_path / "data").rglob("*.zip"))


def test_still_frames_may_have_no_flow(tmp_path):
    write_frames(tmp_path / "videos" / "a", sliding_texture(4, shift=(0, 0)))
    prepare_from(tmp_path / "videos", write_flows(tmp_path / "flows", scale=(0, 0)))
    assert len(records_of(tmp_path / "videos")) == 6


def test_wrong_vectors_are_seen_when_the_motion_begins(tmp_path):
    still, moving = sliding_texture(1), sliding_texture(8)
    frames = np.concatenate([np.repeat(still, 7, axis=0), moving])
    write_frames(tmp_path / "videos" / "a", frames)
    write_flows(tmp_path / "flows", frames=15, scale=(-1, -1))
    zero = np.zeros((48, 64, 2), np.float32)
    for t in range(7):
        write_flow(tmp_path / "flows" / "gap1" / "a" / f"{t}.flo", zero)
        write_flow(tmp_path / "flows" / "gap-1" / "a" / f"{t + 1}.flo", zero)
    with pytest.raises(BadVideosError, match="gap1/a/7.flo: looks like flow of the opposite"):
        prepare_from(tmp_path / "videos", tmp_path / "flows")


def test_some_pairs_of_a_small_object_before_a_still_background_are_enough():
    background, texture = sliding_texture(1, seed=1)[0], sliding_texture(2, shift=(3, 2))
    frames = np.repeat(background[None], 2, axis=0)
    frames[:, 10:26, 10:30] = texture[:, 10:26, 10:30]
    flow = np.zeros((HEIGHT, WIDTH, 2), np.float32)
    flow[10:26, 10:30] = (-3, -2)
    evidence = Evidence(list_mistakes(1, (HEIGHT, WIDTH)))
    evidence.add(*map(grey_levels, frames), flow)
    assert evidence.verdict() is None  # a tenth of one frame: it could be lost
    evidence.add(*map(grey_levels, frames), flow)
    assert evidence.verdict().mistake.looks_like == "flow of the opposite direction"


def flat():
    return np.full((2, HEIGHT, WIDTH, 3), 99, np.uint8)


def noise():
    return np.random.default_rng(0).integers(0, 256, (2, HEIGHT, WIDTH, 3), np.uint8)


def still():
    return sliding_texture(2, shift=(0, 0))


@pytest.mark.parametrize("vector", [(3, 2), (0.1, 0.1), (0.5 / 32, 0.5 / 24), (30, 30), (500, 0)])
@pytest.mark.parametrize("draw", [flat, noise, still])
def test_where_nothing_can_be_told_flow_is_believed(draw, vector):
    evidence = Evidence(list_mistakes(2, (HEIGHT, WIDTH)))
    flow = np.full((HEIGHT, WIDTH, 2), vector, np.float32)
    evidence.add(*map(grey_levels, draw()), flow)
    assert evidence.verdict() is None


def test_pixels_that_leave_the_frame_do_not_count():
    # A fence of posts 22.5 px apart moves by 30 px. A quarter of that looks the same, and keeps
    # the pixels in the frame whose true vectors end outside.
    columns = np.arange(WIDTH) - np.array([[0], [30]])
    fence = 128 + 90 * np.sin(2 * np.pi * columns / 22.5)
    frames = np.broadcast_to(fence[:, None, :, None], (2, HEIGHT, WIDTH, 3)).astype(np.uint8)
    evidence = Evidence(list_mistakes(1, (HEIGHT, WIDTH)))
    flow = np.full((HEIGHT, WIDTH, 2), (30, 0), np.float32)
    evidence.add(*map(grey_levels, np.ascontiguousarray(frames)), flow)
    assert evidence.verdict() is None


def false_alarms(images, pairs):
    """Verdicts on the flow that DIS estimates, each pair for itself."""
    dis = Dis()
    for i, j in pairs:
        (flow,) = dis.match([dis.encode(images[i])], [dis.encode(images[j])])
        evidence = Evidence(list_mistakes(j - i, flow.shape[:2]))
        evidence.add(grey_levels(images[i]), grey_levels(images[j]), flow)
        yield evidence.verdict()


@pytest.mark.parametrize("index", range(0, 12, 3))
def test_no_false_alarm_on_drawn_videos(index):
    images = draw_video("val", index, frames=4).frames
    assert not any(false_alarms(images, [(0, 1), (3, 0)]))


def test_no_false_alarm_on_real_videos(shared):
    for folder in sorted((shared / "data/DAVIS2016/JPEGImages/480p").iterdir()):
        paths = sorted(folder.glob("*.jpg"))[20:24:3]
        images = [cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) for path in paths]
        images = [cv2.resize(image, (320, 192), interpolation=cv2.INTER_AREA) for image in images]
        assert not any(false_alarms(images, [(0, 1), (1, 0)]))


# --- Out of a data set ----------------------------------------------------------------------------


@pytest.fixture
def prepared(tmp_path):
    """Two videos with the flow of DIS, gaps 1 and 2, 48x36 for frames of 64x48."""
    write_frames(tmp_path / "videos" / "a", sliding_texture(4))
    write_video(tmp_path / "videos" / "b.avi", sliding_texture(3, seed=1))
    prepare_here(tmp_path / "videos", tmp_path / "data", max_gap=2, flow_size="48x36")
    return tmp_path


def export_here(place, name="out", **options):
    options = {"data": "folder/set:train", "progress": False} | options
    return export_flow(data_dir=place / "data", output=place / name, **options)


@pytest.mark.parametrize("form", export_module.FORMATS)
def test_exported_flow_comes_back_to_the_bit(prepared, form):
    count = len(open_source(prepared / "data", "folder/set:train"))
    assert export_here(prepared, format=form) == count == 2 * (3 + 2) + 2 * (2 + 1)
    options = {"flow": "precomputed", "flow_source": prepared / "out", "max_gap": 2}
    prepare_here(prepared / "videos", prepared / "data", name="again", flow_size="48x36", **options)
    first, second = (
        open_source(prepared / "data", f"folder/{name}:train") for name in ("set", "again")
    )
    assert first.keys == second.keys
    for i in range(len(first)):
        assert first[i]["flow_forward"] == second[i]["flow_forward"]
        assert first[i]["flow_backward"] == second[i]["flow_backward"]


def test_exported_file_holds_the_flow_of_its_name(prepared):
    export_here(prepared, direction="backward")
    names = [str(path.relative_to(prepared / "out")) for path in (prepared / "out").rglob("*.flo")]
    assert all(name.startswith("gap-") for name in names) and len(names) == 8
    flow = read_flow(prepared / "out" / "gap-2" / "b" / "00002.flo")
    assert flow.shape == (36, 48, 2)
    np.testing.assert_allclose(np.median(flow, axis=(0, 1)), [-4 * 0.75, -2 * 0.75], atol=0.1)
    np.testing.assert_allclose(
        np.median(resize_flow(flow, (48, 64)), axis=(0, 1)), [-4, -2], atol=0.13
    )


def test_interrupted_export_continues(prepared, monkeypatch):
    whole = prepared / "whole"
    export_here(prepared, "whole")
    calls = 0

    def interrupted(*args):
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        return write_flow(*args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(export_module, "write_flow", interrupted)
        export_here(prepared)
    assert export_here(prepared) == len(list(whole.rglob("*.flo"))) - 5
    assert files_of(prepared / "out") == files_of(whole)
    assert export_here(prepared) == 0


def test_export_does_not_mix_with_other_files(prepared):
    export_here(prepared)
    with pytest.raises(ValueError, match="out holds flow of another export, see .*/export.json"):
        export_here(prepared, format="npz")
    shutil.rmtree(prepared / "videos" / "a")
    prepare_here(prepared / "videos", prepared / "data", max_gap=2, overwrite=True)
    with pytest.raises(ValueError, match="out holds flow of another export"):
        export_here(prepared)
    with pytest.raises(ValueError, match="videos holds something else; choose another --output"):
        export_here(prepared, "videos")
    (prepared / "file").write_text("")
    with pytest.raises(ValueError, match="file holds something else"):
        export_here(prepared, "file")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"data": "folder/none:train"}, FileNotFoundError, "no prepared data set in"),
        ({"data": "folder/set:test"}, ValueError, "no split 'test'"),
        ({"format": "jpg"}, ValueError, "format is 'jpg'; expected one of .'flo', 'kitti', 'npz'"),
        ({"direction": "up"}, ValueError, "direction is 'up'; expected one of .'forward', "),
    ],
)
def test_export_of_what_is_not_there(prepared, options, error, message):
    with pytest.raises(error, match=message):
        export_here(prepared, **options)
    assert not (prepared / "out").exists()


def test_still_images_have_no_flow_to_export(tmp_path, monkeypatch):
    class Stills:
        has_flow = False

    monkeypatch.setattr(export_module, "open_source", lambda *args: Stills())
    with pytest.raises(ValueError, match="ecssd:test: still images have no flow"):
        export_here(tmp_path, data="ecssd:test")


def test_command_line(prepared, capsys):
    where = [f"--data_dir={prepared / 'data'}", f"--output={prepared / 'out'}"]
    assert main([*where, "--data=folder/set:train", "--format=kitti", "--direction=forward"]) == 0
    assert f"wrote 8 files in {prepared / 'out'}" in capsys.readouterr().err
    assert len(list((prepared / "out").rglob("gap[12]/*/*.png"))) == 8
    assert main([*where, "--data=folder/none:train"]) == 2
    assert "error: folder/none:train: no prepared data set" in capsys.readouterr().err


# --- Names ----------------------------------------------------------------------------------------


def test_flow_belongs_to_frames_however_names_are_spelled(tmp_path):
    joined, apart = "caf\u00e9", "cafe\u0301"
    videos = write_frames(tmp_path / "videos" / joined, sliding_texture(4, shift=SHIFT)).parent
    write_flows(tmp_path / "flows", video=apart)
    for folder in tmp_path.glob("flows/gap*"):
        for path in list((folder / apart).iterdir()):
            path.rename(path.with_suffix(".FLO"))
            path.with_name(f"._{path.stem}.flo").write_bytes(b"\0")
    (tmp_path / "flows" / "gap").mkdir()  # beside gap1
    prepare_from(videos, tmp_path / "flows")
    records = records_of(videos)
    assert len(records) == 6
    for (_, gap), record in records.items():
        np.testing.assert_allclose(record["flow_forward"][5, 5], np.multiply(SHIFT, gap), atol=0.02)
