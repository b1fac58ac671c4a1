"""Prediction from files to files, through the real networks at toy size with random weights."""

import json
import signal
from dataclasses import replace

import cv2
import jax
import numpy as np
import pytest
from PIL import Image

from configs import davis
from data_prep import video
from data_prep.flow import FlowOptions
from data_prep.flow.dis import Dis
from data_prep.sources.frames import ImageFiles
from data_prep.sources.video_files import decode_video, read_rate
from data_prep.video import Recipe
from dystab_jax import inference
from dystab_jax.build import Run, initial_state
from dystab_jax.commands import predict
from dystab_jax.data import resize
from dystab_jax.data.resize import resize_image
from dystab_jax.evaluation.snapshots import Snapshot
from dystab_jax.object_choice import NOTHING
from dystab_jax.prediction import shots
from dystab_jax.prediction.coco import CocoFile
from dystab_jax.prediction.engine import Engine, learned
from dystab_jax.prediction.files import FORMATS
from dystab_jax.prediction.progress import Progress
from dystab_jax.refinement import crf
from tests.support.tiny_videos import files_of, sliding_texture, write_frames, write_video

SIZE = (32, 48)
DEFAULT_RECIPE = Recipe()
UNSAID = (".written.json", "index.html")
FRAMES = sliding_texture(5, height=49, width=65)  # odd, and not the networks' size


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = davis.get_config("small")
    config.data.image_size = config.data.still_size = SIZE
    for name in ("phi", "chi"):
        config[name].model.update(backbone="small", output_stride=4, norm="group")
        config[name].model.width = 16
        config[name].pretrained = ""
    for name in ("phi", "psi"):
        config[name].model.shrink = 1
    config.psi.model.widths = (4, 8)
    config.eval.batch_size = 4
    config.eval.flows_per_frame = 6
    config.eval.crf = "none"
    return Run.of(config, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def static_logits(run):
    """χ's logits of images uint8, at the networks' size."""
    apply = jax.jit(run.steps.chi.network.apply)
    return lambda variables, images: np.asarray(apply(variables, np.float32(images) / 255))


@pytest.fixture(scope="module")
def state(run, static_logits):
    """Random weights, such that χ's masks are neither empty nor full."""
    shapes = jax.eval_shape(lambda: initial_state(run.config, run.steps))
    rng = np.random.default_rng(0)
    state = jax.tree.map(lambda leaf: rng.normal(0, 0.2, leaf.shape).astype(leaf.dtype), shapes)
    chi = state.chi.average
    logits = static_logits(chi, resize_image(FRAMES[0], SIZE)[None])
    chi["params"]["logits"]["bias"][1] -= np.median(logits[..., 1] - logits[..., 0])
    return state


@pytest.fixture(scope="module")
def static_mask(state, static_logits):
    """χ's mask of an image at its native size, the mean of both of its sides."""

    def mask(image):
        small = resize_image(image, SIZE)
        logits = static_logits(state.chi.average, np.stack([small, small[:, ::-1]]))
        soft, mirrored = 1 / (1 + np.exp(logits[..., :1] - logits[..., 1:]))
        soft = (soft + mirrored[:, ::-1]) / 2
        return inference.threshold(resize.upsample(soft, image.shape[:2])[..., 0])

    return mask


@pytest.fixture
def calls(run, monkeypatch):
    """Arguments and results of every ``Predictor.video``."""
    original, recorded = run.predictor.video, []

    def video(*arguments):
        recorded.append((arguments, original(*arguments)))
        return recorded[-1][1]

    monkeypatch.setattr(run.predictor, "video", video)
    return recorded


def write(run, state, source, output, recipe=DEFAULT_RECIPE, wanted=predict.DEFAULT):
    """Predicts, and returns what is written but for the page, which has tests of its own."""
    engine = Engine(run, run.averages(state), recipe)
    written = predict.predict(engine, source, output, wanted)
    return [path for path in written if path.name != "index.html"]


def read_mask(path):
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert mask.dtype == np.uint8 and mask.ndim == 2
    assert set(np.unique(mask)) <= {0, 255}
    return mask // 255


def read_video(path):
    return read_rate(path), [image for image, _ in decode_video(path)]


def relative(written, output):
    return sorted(str(path.relative_to(output)) for path in written)


def check_flows(pairs, count):
    """Each frame has the flow of `FRAMES` to every neighbour within three frames."""
    scale = np.array([2, 1]) * [SIZE[1] / 65, SIZE[0] / 49]  # pixels per frame, resized
    for t in range(count):
        found = sorted(
            np.median(flow[8:-8, 8:-8], (0, 1))[0] for owner, _, flow in pairs if owner == t
        )
        gaps = [g for g in (-3, -2, -1, 1, 2, 3) if 0 <= t + g < count]
        np.testing.assert_allclose(found, [g * scale[0] for g in gaps], atol=0.25)
    owner, _, flow = pairs[0]
    expected = scale * (1 if owner == 0 else -1)
    np.testing.assert_allclose(np.median(flow[8:-8, 8:-8], (0, 1)), expected, atol=0.25)


def test_image_goes_through_chi_alone(run, state, static_mask, tmp_path, calls):
    write_frames(tmp_path / "in", FRAMES[:1], ".bmp")
    written = write(run, state, tmp_path / "in" / "0.bmp", tmp_path / "out")
    assert relative(written, tmp_path / "out") == ["0-overlay.jpg", "0.png"]
    mask = read_mask(tmp_path / "out" / "0.png")
    assert 0.1 < mask.mean() < 0.9
    assert np.mean(mask != static_mask(FRAMES[0])) < 0.005  # compiled differently
    assert not calls
    picture = cv2.imread(str(tmp_path / "out" / "0-overlay.jpg"), cv2.IMREAD_COLOR_RGB)
    change = np.abs(picture.astype(int) - FRAMES[0]).mean(-1)
    assert change[mask == 1].mean() > 2 * change[mask == 0].mean()


@pytest.mark.parametrize("preset", ["none", "guided"])
def test_folder_of_frames(run, state, tmp_path, calls, monkeypatch, preset):
    monkeypatch.setitem(run.config.eval, "crf", preset)
    source, output = write_frames(tmp_path / "in", FRAMES), tmp_path / "out"
    written = write(run, state, source, output)
    names = [f"{t}" for t in range(5)]
    expected = [f"masks/{name}.png" for name in names] + ["overlay.mp4"]
    assert relative(written, output) == expected + [f"overlays/{name}.jpg" for name in names]
    assert sorted(files_of(output)) == sorted([*relative(written, output), *UNSAID])

    [(arguments, prediction)] = calls
    assert [name for name, _ in arguments[2]] == names
    check_flows(arguments[4], 5)
    soft = inference.fuse(prediction, run.config.eval)["fused"]
    for name, probability in zip(names, soft, strict=True):
        native = resize.upsample(probability, (49, 65))[..., 0]
        refined = crf.refine(FRAMES[int(name)], native, preset)
        mask = read_mask(output / "masks" / f"{name}.png")
        np.testing.assert_array_equal(mask, refined > 0.5)
        if preset != "none":
            assert 0 < np.mean(mask != (native > 0.5)) < 0.5
    rate, frames = read_video(output / "overlay.mp4")
    assert (rate, len(frames)) == (24, 5)


def test_fewer_flows_are_those_to_the_nearest_frames(run, state, tmp_path, calls, monkeypatch):
    monkeypatch.setitem(run.config.eval, "flows_per_frame", 3)
    write(run, state, write_frames(tmp_path / "in", FRAMES), tmp_path / "out")
    pairs = calls[0][0][4]
    distances = [
        sorted(
            round(abs(np.median(flow[8:-8, 8:-8, 0])) / (2 * SIZE[1] / 65))
            for owner, _, flow in pairs
            if owner == t
        )
        for t in range(5)
    ]
    assert distances == [[1, 2], [1, 1, 2], [1, 1, 2], [1, 1, 2], [1, 2]]


def test_flow_comes_from_the_estimator_that_is_asked_for(run, state, tmp_path, calls, monkeypatch):
    class Still(Dis):
        def match(self, firsts, seconds):
            return np.zeros((len(firsts), *firsts[0].shape, 2), np.float32)

    asked = FlowOptions("raft_small", tmp_path / "weights.pth")
    made = {asked: Still(), FlowOptions(): Dis()}
    monkeypatch.setattr(video, "make_estimator", lambda options, video: made[options])
    source = write_frames(tmp_path / "in", FRAMES[:3])
    write(run, state, source, tmp_path / "out", Recipe(asked))
    write(run, state, source, tmp_path / "other")
    still, moving = (np.stack([pair.flow for pair in arguments[4]]) for arguments, _ in calls)
    assert len(still) == len(moving) == 6
    assert np.all(still == 0) and np.abs(moving).mean() > 0.5


def test_flow_has_the_gap_and_size_that_are_asked_for(run, state, tmp_path, calls, monkeypatch):
    class Sized(Dis):
        def match(self, firsts, seconds):
            sizes.update(one.shape for one in firsts)
            return super().match(firsts, seconds)

    sizes = set()
    monkeypatch.setattr(video, "make_estimator", lambda options, video: Sized())
    source = write_frames(tmp_path / "in", FRAMES)
    recipe = Recipe(max_gap=1, flow_size=(40, 30))
    write(run, state, source, tmp_path / "out", recipe)
    pairs = calls[0][0][4]
    assert sorted(pair.frame for pair in pairs) == [0, 1, 1, 2, 2, 3, 3, 4]
    assert sizes == {(30, 40)}


def test_video_file(run, state, tmp_path):
    source = write_video(tmp_path / "clip.avi", FRAMES)
    written = write(run, state, source, tmp_path / "out")
    masks_written = [f"masks/0000{t}.png" for t in range(5)]
    assert relative(written, tmp_path / "out") == [*masks_written, "overlay.mp4"]
    for name in masks_written:
        assert read_mask(tmp_path / "out" / name).shape == (49, 65)
    rate, frames = read_video(tmp_path / "out" / "overlay.mp4")
    assert (rate, len(frames)) == (10, 5)  # the rate of the source
    assert frames[0].shape == (50, 66, 3)  # padded: yuv420p has no odd sizes


def test_overlay_keeps_the_times_of_its_source(run, state, tmp_path):
    times = [0, 0.1, 0.5, 0.6, 1.6]
    source = write_video(tmp_path / "clip.mkv", FRAMES[:, :48, :64], "libx264", times=times)
    write(run, state, source, tmp_path / "out")
    shown = [time for _, time in decode_video(tmp_path / "out" / "overlay.mp4")]
    np.testing.assert_allclose(shown, times, atol=0.002)


def test_long_video_is_cut_and_flow_reaches_across(run, state, tmp_path, calls, monkeypatch):
    monkeypatch.setattr(shots, "PIECE", 4)
    frames = sliding_texture(11, height=49, width=65)
    written = write(run, state, write_frames(tmp_path / "in", frames), tmp_path / "out")
    assert sum(path.parent.name == "masks" for path in written) == 11
    assert [[name for name, _ in call[0][2]] for call in calls] == [
        ["0", "1", "2", "3"],
        ["4", "5", "6", "7", "8", "9", "10"],
    ]
    pairs = [
        pair._replace(frame=pair.frame + start)
        for (a, _), start in zip(calls, (0, 4), strict=True)
        for pair in a[4]
    ]
    check_flows(pairs, 11)
    # The second piece is decided by what was seen of the first, too.
    (first, decided), (second, _) = calls
    assert first[6] == NOTHING
    assert second[6].frames == 4 and second[6].masks == len(first[4])
    assert second[6].border == pytest.approx(float(decided.borders.sum()))


def test_one_frame_is_treated_like_an_image_and_says_so(run, state, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(run.config.data, "still_size", (40, 40))
    monkeypatch.setitem(run.config.eval, "still_crf", "guided")
    source = write_frames(tmp_path / "single", FRAMES[:1])
    written = write(run, state, source, tmp_path / "out")
    assert relative(written, tmp_path / "out") == ["masks/0.png", "overlay.mp4", "overlays/0.jpg"]
    assert "single: frame 0 alone has no flow; chi masks it" in capsys.readouterr().out
    write(run, state, source / "0.png", tmp_path / "image")
    mask = read_mask(tmp_path / "image" / "0.png")
    assert 0.1 < mask.mean() < 0.9
    np.testing.assert_array_equal(read_mask(tmp_path / "out" / "masks" / "0.png"), mask)


@pytest.mark.parametrize(("codec", "ending"), [("gif", "gif"), ("ffv1", "mkv")])
def test_video_file_of_one_frame(run, state, tmp_path, codec, ending):
    source = write_video(tmp_path / f"one.{ending}", FRAMES[:1], codec)
    written = write(run, state, source, tmp_path / "out")
    assert relative(written, tmp_path / "out") == ["masks/00000.png", "overlay.mp4"]


def test_truth_among_the_frames_is_passed_over(run, state, tmp_path, capsys):
    """FBMS-59 has its truth in a folder beside the frames."""
    source = write_frames(tmp_path / "bear01", FRAMES[:2], ".jpg")
    write_frames(source / "GroundTruth", FRAMES[:1])
    written = write(run, state, source, tmp_path / "out")
    assert [path.name for path in written if path.parent.name == "masks"] == ["0.png", "1.png"]
    assert f"not read: {source}/GroundTruth lies among frames" in capsys.readouterr().out
    write_video(source / "clip.avi", FRAMES[:2])
    with pytest.raises(ValueError, match="holds images as well as videos"):
        write(run, state, source, tmp_path / "out")


def test_what_is_not_read_is_said_once(run, state, tmp_path, capsys):
    write_frames(tmp_path / "in" / "a", FRAMES[:4])
    write_frames(tmp_path / "in" / "b", FRAMES[:2])
    (tmp_path / "in" / "a" / "2.png").unlink()
    (tmp_path / "in" / "c.xyz").write_text("")
    write(run, state, tmp_path / "in", tmp_path / "out")
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert len(notes) == 2
    assert f"not read: {tmp_path}/in/c.xyz is no video" in notes[0]
    assert "numbers are missing between frames 1 and 3" in notes[1]


def test_several_videos_and_a_broken_one(run, state, tmp_path):
    source, output = tmp_path / "in", tmp_path / "out"
    write_frames(source / "a", FRAMES[:2])
    write_frames(source / "b", FRAMES[:2])
    (source / "b" / "1.png").write_bytes((source / "b" / "1.png").read_bytes()[:200])
    write_video(source / "c.avi", FRAMES[:2])
    with pytest.raises(ValueError, match=r"1 of 3 videos.*b/1\.png"):
        write(run, state, source, output)
    assert sorted(files_of(output)) == [
        "a/.written.json", "a/index.html", "a/masks/0.png", "a/masks/1.png", "a/overlay.mp4",
        "a/overlays/0.jpg", "a/overlays/1.jpg",
        "c/.written.json", "c/index.html", "c/masks/00000.png", "c/masks/00001.png",
        "c/overlay.mp4",
    ]  # fmt: skip
    assert sorted(path.name for path in output.iterdir()) == ["a", "c"]


def test_second_prediction_replaces_the_first_and_nothing_else(run, state, tmp_path):
    source, output = write_frames(tmp_path / "in", FRAMES[:2]), tmp_path / "out"
    (output / "masks").mkdir(parents=True)
    (output / "masks" / "0.png").write_bytes(b"old")
    (output / "mine.txt").write_text("keep")
    write(run, state, source, output)
    assert read_mask(output / "masks" / "0.png").shape == (49, 65)
    assert (output / "mine.txt").read_text() == "keep"


def test_unreadable_frame_is_named_and_nothing_is_left(run, state, tmp_path):
    source = write_frames(tmp_path / "in", FRAMES, ".jpg")
    (source / "3.jpg").write_bytes((source / "3.jpg").read_bytes()[:300])
    with pytest.raises(ValueError, match=r"in/3\.jpg: not a readable image"):
        write(run, state, source, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_ctrl_c_keeps_the_frames_that_are_done(run, state, tmp_path, monkeypatch, capsys):
    whole = Engine.video

    def interrupted(*arguments):
        for number, frame in enumerate(whole(*arguments)):
            if number == 3:
                raise KeyboardInterrupt
            yield frame

    monkeypatch.setattr(Engine, "video", interrupted)
    source, output = write_frames(tmp_path / "in", FRAMES), tmp_path / "out"
    wanted = predict.Wanted(("png", "video", "coco"))
    with pytest.raises(KeyboardInterrupt):
        write(run, state, source, output, wanted=wanted)
    assert "in: ended; the first 3 frames are in" in capsys.readouterr().out
    assert sorted(path.name for path in output.iterdir()) == [
        ".written.json", "annotations.json", "index.html", "masks", "overlay.mp4", "overlays",
    ]  # fmt: skip
    assert sorted(path.name for path in (output / "masks").iterdir()) == ["0.png", "1.png", "2.png"]
    assert len(read_video(output / "overlay.mp4")[1]) == 3
    assert len(json.loads((output / "annotations.json").read_text())["images"]) == 3
    # Before the first frame is done there is nothing to keep.
    monkeypatch.setattr(Engine, "video", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write(run, state, source, tmp_path / "none")
    assert list((tmp_path / "none").iterdir()) == []


def test_ctrl_c_waits_until_files_are_complete(run, state, tmp_path, monkeypatch, ctrl_c):
    """A signal that comes while a file is closed may not leave half of it over a whole one."""
    source, output = write_frames(tmp_path / "in", FRAMES[:3]), tmp_path / "out"
    close = CocoFile.close

    def interrupted(self):
        signal.raise_signal(signal.SIGINT)
        close(self)

    monkeypatch.setattr(CocoFile, "close", interrupted)
    wanted = predict.Wanted(("coco", "png", "video"))
    with pytest.raises(KeyboardInterrupt):
        write(run, state, source, output, wanted=wanted)
    assert len(json.loads((output / "annotations.json").read_text())["images"]) == 3
    assert len(read_video(output / "overlay.mp4")[1]) == 3
    assert (output / "index.html").exists()


def test_what_an_earlier_prediction_wrote_does_not_stay(run, state, tmp_path):
    output = tmp_path / "out"
    wanted = predict.Wanted(("png", "soft", "video"))
    write(run, state, write_frames(tmp_path / "long", FRAMES), output, wanted=wanted)
    (output / "soft" / "mine.txt").write_text("keep")
    (output / "notes.txt").write_text("keep")
    short = write_video(tmp_path / "short.avi", FRAMES[:2])
    written = write(run, state, short, output, wanted=predict.Wanted(("png",)))
    assert sorted(files_of(output)) == sorted(
        [*relative(written, output), *UNSAID, "notes.txt", "soft/mine.txt"]
    )
    # A list that was tampered with removes nothing else.
    (output / ".written.json").write_text(
        json.dumps(["notes.txt", "../short.avi", "soft/mine.txt"])
    )
    write(run, state, short, output, wanted=predict.Wanted(("png",)))
    assert short.exists() and (output / "notes.txt").exists()


def test_a_run_whose_chi_has_not_learned_masks_videos_by_phi(run, state, tmp_path):
    networks = {name: one for name, one in run.averages(state).items() if name != "chi"}
    engine = Engine(run, networks, DEFAULT_RECIPE)
    source = write_frames(tmp_path / "in", FRAMES[:3])
    frames = list(
        engine.video(ImageFiles("in", source, tuple(sorted(source.iterdir()))), Progress())
    )
    assert len(frames) == 3 and all((frame.trace.chi == 0).all() for frame in frames)
    with pytest.raises(ValueError, match="0: chi, which masks images, has learned nothing yet"):
        predict.predict(engine, source / "0.png", tmp_path / "out")
    snapshot = Snapshot("0-dynamic", True, 1, True, run.averages(state))
    assert sorted(learned(snapshot)) == ["phi", "psi"]
    assert sorted(learned(replace(snapshot, phase="1-static"))) == ["chi", "phi", "psi"]


def test_every_format_is_written(run, state, tmp_path, capsys):
    source, output = write_video(tmp_path / "clip.avi", FRAMES), tmp_path / "out"
    wanted = predict.Wanted(tuple(FORMATS), instances=True)
    written = relative(write(run, state, source, output, wanted=wanted), output)
    frames = [f"0000{t}.png" for t in range(5)]
    folders = ("cutouts", "instances", "masks", "soft")
    files = ["annotations.json", "cutout.mov", "cutout.webm", "overlay.mp4"]
    assert written == sorted([*files, *(f"{one}/{name}" for one in folders for name in frames)])
    assert "clip: 5 frames" in capsys.readouterr().out
    for name in frames:
        mask = read_mask(output / "masks" / name)
        numbers = np.asarray(Image.open(output / "instances" / name))
        np.testing.assert_array_equal(numbers > 0, mask)


def test_every_format_of_an_image(run, state, tmp_path):
    write_frames(tmp_path / "in", FRAMES[:1])
    wanted = predict.Wanted(tuple(FORMATS), instances=True)
    written = write(run, state, tmp_path / "in" / "0.png", tmp_path / "out", wanted=wanted)
    assert relative(written, tmp_path / "out") == [
        "0-annotations.json", "0-cutout.png", "0-instances.png", "0-overlay.jpg", "0-soft.png",
        "0.png",
    ]  # fmt: skip
    content = json.loads((tmp_path / "out" / "0-annotations.json").read_text())
    mask = read_mask(tmp_path / "out" / "0.png")
    assert sum(one["area"] for one in content["annotations"]) == mask.sum()
    assert content["images"][0]["file_name"] == "0.png"
    cutout = cv2.imread(str(tmp_path / "out" / "0-cutout.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(cutout[..., 3] >= 128, mask)


def test_shots_are_segmented_by_themselves(run, state, tmp_path, calls, capsys):
    other = np.uint8(FRAMES * [1, 0.3, 0.3])
    source = write_frames(tmp_path / "in", np.concatenate([FRAMES[:3], other[:2], FRAMES[:1]]))
    write(run, state, source, tmp_path / "out")
    names = [[name for name, _ in arguments[2]] for arguments, _ in calls]
    assert names == [["0", "1", "2"], ["3", "4"]]
    assert all(arguments[6] == NOTHING for arguments, _ in calls)
    said = capsys.readouterr().out
    assert "in: frame 5 alone has no flow" in said and "in: 6 frames, 3 shots" in said


def test_frames_of_different_sizes_are_named(run, state, tmp_path):
    source = write_frames(tmp_path / "in", FRAMES[:2])
    assert cv2.imwrite(str(source / "2.png"), FRAMES[0, :40])
    with pytest.raises(ValueError, match=r"in: frame 2 is 65x40, frame 0 is 65x49"):
        write(run, state, source, tmp_path / "out")


def test_frames_too_small_for_flow(run, state, tmp_path):
    source = write_frames(tmp_path / "in", FRAMES[:2, :10])
    with pytest.raises(ValueError, match=r"in: frames of 65x10 pixels; at least 12"):
        write(run, state, source, tmp_path / "out")


def _missing(path):
    return path / "nowhere", path / "out"


def _text(path):
    (path / "notes.txt").write_text("hello")
    return path / "notes.txt", path / "out"


def _empty(path):
    (path / "empty").mkdir()
    return path / "empty", path / "out"


def _not_a_video(path):
    (path / "fake.mp4").write_bytes(b"this is no video")
    return path / "fake.mp4", path / "out"


def _not_an_image(path):
    (path / "fake.jpg").write_bytes(b"this is no image")
    return path / "fake.jpg", path / "out"


def _output_is_a_file(path):
    (path / "out").write_text("taken")
    return write_frames(path / "in", FRAMES[:1]), path / "out"


def _output_below_a_file(path):
    (path / "file").write_text("taken")
    return write_frames(path / "in", FRAMES[:1]), path / "file" / "out"


def _output_in_input(path):
    return write_frames(path / "in", FRAMES[:1]), path / "in" / "masks"


def _output_on_input(path):
    return write_frames(path / "in", FRAMES[:1]) / "0.png", path / "in"


def _masks_on_input(path):
    return write_frames(path / "clip" / "masks", FRAMES[:2]), path / "clip"


def _file_for_folder(path):
    (path / "out").mkdir()
    (path / "out" / "masks").write_text("mine")
    return write_frames(path / "in", FRAMES[:2]), path / "out"


def _folder_for_file(path):
    (path / "out" / "overlay.mp4").mkdir(parents=True)
    return write_frames(path / "in", FRAMES[:2]), path / "out"


@pytest.mark.parametrize(
    ("case", "kind", "message"),
    [
        (_missing, FileNotFoundError, r"--input=.*nowhere: no such file"),
        (_text, ValueError, r"notes\.txt: neither an image \(.jpg .*nor a video \(.mp4 "),
        (_empty, ValueError, r"empty: no video in it"),
        (_not_a_video, ValueError, r"fake\.mp4: not a video that FFmpeg can read"),
        (_not_an_image, ValueError, r"fake\.jpg: not a readable image"),
        (_output_is_a_file, NotADirectoryError, r"--output=.*out is a file"),
        (_output_below_a_file, OSError, r"--output=.*cannot be written.*choose another"),
        (_output_in_input, ValueError, r"--output=.*is in the input folder"),
        (_output_on_input, ValueError, r"would replace its own input .*0\.png"),
        (_masks_on_input, ValueError, r"masks would be written into --input=.*masks"),
        (_file_for_folder, ValueError, r"out/masks stands where a folder is to be written"),
        (_folder_for_file, ValueError, r"overlay.mp4 stands where a file is to be written"),
    ],
)
def test_bad_input_and_output(run, state, tmp_path, capfd, case, kind, message):
    source, output = case(tmp_path)
    before = files_of(tmp_path)
    with pytest.raises(kind, match=message):
        write(run, state, source, output)
    assert files_of(tmp_path) == before
    capfd.readouterr()  # OpenCV's own complaints
