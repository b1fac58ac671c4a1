"""Measures rules that need no training on one trained run: phi's cut, mirrored images, the fusion.

    python -m benchmarks.rules --workdir=runs/real --data=davis2016:train --truth=DAVIS --every=3
    python -m benchmarks.rules --workdir=runs/of20 --data=davis2016:train --truth=DAVIS --held_out

Predicts each video once and applies every rule to it. J is that of the networks' size, of every
frame but the first and last of a video, averaged over the videos; of masks that a CRF refines, that
of every fourth frame. Rules are chosen on training sequences, whose truth is read here and nowhere
in training; of a run with ``data.videos``, on those sequences that it has not seen.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dystab_jax import object_choice
from dystab_jax.build import Run
from dystab_jax.commands.runs import open_runs
from dystab_jax.data import pipeline, records, resize
from dystab_jax.evaluation import metrics, snapshots, truth_source
from dystab_jax.inference import FramePair
from dystab_jax.refinement import crf

CUTS = (0.2, 0.25, 0.28, 0.3, 0.35, 0.4, 0.45, 0.5)
SHARPNESSES = (1.0, 2.0, 4.0, 8.0)
SCOPES = ("frame", "video")
CRF_FRAMES = 4
"""Of so many frames one is refined by the CRF."""


@dataclass(frozen=True)
class Seen:
    """Holds what the networks say of a video, before any rule.

    Attributes:
      name: of the video.
      images: uint8 [T, H, W, 3].
      pairs: those by which φ has seen the frames.
      phi: canonical masks of the N pairs, [N, H, W, 1].
      chi: masks of the frames, [T, H, W, 1].
      mirrored: means of these and of those of the mirror images.
      truth: uint8 [T, H, W].
    """

    name: str
    images: np.ndarray
    pairs: Sequence[FramePair]
    phi: np.ndarray
    chi: np.ndarray
    mirrored: np.ndarray
    truth: np.ndarray

    def phi_cut(self, cut: float) -> np.ndarray:
        """Returns φ's masks of the frames, [T, H, W, 1], cut at this level."""
        owners = np.array([pair.frame for pair in self.pairs])
        masks = object_choice.move_cut(self.phi, cut)
        return np.stack([masks[owners == t].mean(0) for t in range(len(self.images))])


def choose(run: Run, spec: str, every: int = 1, held_out: bool = False) -> list[str]:
    """Returns names of videos, sorted.

    Args:
      run: which has been trained on ``data.videos`` of them.
      spec: DATASET:SPLIT.
      every: every n-th is taken.
      held_out: those alone that the run has not been trained on.
    """
    data = run.config.data
    frames = pipeline.frames_of(records.open_source(data.dir, spec))
    names = {frame.video for frame in frames}
    if held_out:
        if not data.videos:
            raise ValueError("--held_out: the run was trained on all videos; see data.videos")
        trained = pipeline.choose_videos(frames, data.videos, run.config.seed)
        names -= {frame.video for frame in trained}
    return sorted(names)[::every]


def see(run: Run, variables: dict, spec: str, truth: Path, names: Sequence[str]) -> Iterator[Seen]:
    """Yields videos of a prepared data set.

    Args:
      run: gives networks and config.
      variables: of the networks, by name.
      spec: DATASET:SPLIT.
      truth: where the masks of the same videos lie.
      names: of the videos.
    """
    source = records.open_source(run.config.data.dir, spec)
    frames = pipeline.frames_of(source)
    masks = truth_source.from_folder(truth, names).videos
    decoded = pipeline.Decoded(source, tuple(run.config.data.image_size), keep=False)
    decoded.open()
    for name in names:
        members = [frame for frame in frames if frame.video == name]
        images = np.stack([decoded.part(frame.positions[0], "image") for frame in members])
        pairs = [
            FramePair(t, source.keys[p].gap, decoded.part(p, "flow_forward"))
            for t, frame in enumerate(members)
            for p in frame.positions[: run.config.eval.flows_per_frame]
        ]
        raw = run.predictor.dynamic(variables["phi"], np.stack([pair.flow for pair in pairs]))
        phi = np.asarray(object_choice.canonicalise_sequence(raw)[0])
        chi, mirrored = (run.predictor.static(variables["chi"], images, m) for m in (False, True))
        read = dict(zip(masks[name].frame_names, masks[name].masks, strict=True))
        true = [resize.fit_mask(read[frame.name](), images.shape[1:3]) for frame in members]
        yield Seen(name, images, pairs, phi, chi, mirrored, np.stack(true))


def score(maps: np.ndarray, truth: np.ndarray) -> float:
    """Returns mean J of maps [T, H, W, 1] cut at one half, without the first and last frame."""
    hard = maps[1:-1, ..., 0] > 0.5
    return float(np.mean([metrics.jaccard(*pair) for pair in zip(hard, truth[1:-1], strict=True)]))


def apply_rules(run: Run, variables: dict, seen: Seen) -> dict[str, np.ndarray]:
    """Returns the maps [T, H, W, 1] of a video by every rule, by the rule's name.

    φ is fused as ``eval.phi_cut`` cuts it, with χ of mirrored images.
    """
    maps = {f"phi, cut {cut:g}": seen.phi_cut(cut) for cut in CUTS}
    maps |= {"chi": seen.chi, "chi, mirrored": seen.mirrored}
    phi, chi = seen.phi_cut(run.config.eval.phi_cut), seen.mirrored
    maps["mean"] = (phi + chi) / 2
    confidences = [
        run.predictor.confidence(variables["psi"], mask, seen.images, seen.pairs)
        for mask in (phi, chi)
    ]
    for sharpness in SHARPNESSES:
        for scope in SCOPES:
            fused = fuse_by_loss_a(phi, chi, *confidences, sharpness, scope)
            maps[f"L_A, k {sharpness:g}, per {scope}"] = fused
        fused = object_choice.fuse_masks(phi, chi, *confidences, sharpness=sharpness)
        maps[f"L_A and areas, k {sharpness:g}"] = fused
    return maps


def fuse_by_loss_a(
    phi: np.ndarray, chi: np.ndarray, a: np.ndarray, b: np.ndarray, sharpness: float, scope: str
) -> np.ndarray:
    """Fuses maps [T, H, W, 1] by the weight a^k / (a^k + b^k + c^k) of φ, L_A alone; c is ½.

    With the scope "video", a and b are the means over its frames.
    """
    if scope == "video":
        a, b = (np.full_like(one, one.mean()) for one in (a, b))
    powers = [(one / 0.5) ** sharpness for one in (a, b)]
    weight = (powers[0] / (powers[0] + powers[1] + 1))[:, None, None, None]
    return weight * phi + (1 - weight) * chi


def refine(seen: Seen, maps: np.ndarray, preset: str) -> np.ndarray:
    """Returns every ``CRF_FRAMES``-th of the maps [T, H, W, 1] after a CRF."""
    chosen = maps[::CRF_FRAMES, ..., 0].astype(np.float32)
    pairs = zip(seen.images[::CRF_FRAMES], chosen, strict=True)
    return np.stack(list(crf.refine_frames(pairs, preset, jobs=2)))[..., None]


def score_refined(seen: Seen, maps: np.ndarray, preset: str) -> float:
    """Returns what ``score`` says of the maps [T, H, W, 1] that a CRF refines."""
    return score(refine(seen, maps, preset), seen.truth[::CRF_FRAMES])


def new_parser(description: str) -> argparse.ArgumentParser:
    """Returns a parser of the arguments that ``open_run`` reads, ``--truth`` and ``--crf``."""
    parser = argparse.ArgumentParser(
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workdir", type=Path, required=True, help="of a trained run")
    parser.add_argument("--data", required=True, help="a prepared data set, DATASET:SPLIT")
    parser.add_argument("--truth", type=Path, required=True, help="folder with its true masks")
    parser.add_argument("--phase", help="whose end is measured; default: the newest state")
    parser.add_argument("--every", type=int, default=1, help="take every n-th of the videos")
    parser.add_argument("--held_out", action="store_true", help="those not trained on alone")
    parser.add_argument("--phi_cut", type=float, help="of fused masks; default: the run's own")
    parser.add_argument("--crf", default="none", help="a preset that refines the masks as well")
    return parser


def open_run(options: argparse.Namespace) -> tuple[Run, snapshots.Snapshot, list[str]]:
    """Returns the run that the arguments name, the state that is measured, and names of videos."""
    (run,) = open_runs(None, options.workdir, "predict")
    if options.phi_cut is not None:
        run.config.eval.phi_cut = options.phi_cut
    phase = options.phase
    snapshot = snapshots.at_end_of(run, phase) if phase else snapshots.newest(run)
    return run, snapshot, choose(run, options.data, options.every, options.held_out)


def main(argv: list[str] | None = None) -> None:
    """Measures and prints."""
    parser = new_parser(__doc__)
    options = parser.parse_args(argv)
    run, snapshot, names = open_run(options)
    table: dict[str, list[float]] = {}
    for seen in see(run, snapshot.variables, options.data, options.truth, names):
        for name, maps in apply_rules(run, snapshot.variables, seen).items():
            table.setdefault(name, []).append(score(maps, seen.truth))
            if options.crf != "none":
                refined = score_refined(seen, maps, options.crf)
                table.setdefault(f"{name}, {options.crf}", []).append(refined)
        print(f"{seen.name}: {len(seen.images)} frames", flush=True)
    print(f"J of {len(names)} videos, {snapshot.phase}")
    for name, js in table.items():
        print(f"  {np.mean(js):.4f}  {name}")


if __name__ == "__main__":
    main()
