"""Result files as evaluations write them, and what the tables make of them."""

import json
import re

from dystab_jax.evaluation.protocols import registry
from dystab_jax.report import tables

FACTS = {
    "train": "davis2016:train",
    "videos": 0,
    "seed": 0,
    "temporal_weight": 0.1,
    "static": "confidence",
    "self_training": "",
    "labels": "",
    "networks": "φ small, χ small at 64×32",
    "method": "aaaa0000",
}
RULES = {"fusion": "weighted", "trust": "loss_a", "vote": True, "flows_per_frame": 6}
# Split, sequences and frames of the whole data set.
WHOLE = {
    "davis2016": ("val", 20, 1336),
    "fbms59": ("test", 30, 367),
    "segtrackv2": ("test", 14, 976),
    "ecssd": ("test", 1000, 1000),
    "msra_b": ("all", 5000, 5000),
    "dut_omron": ("test", 5168, 5168),
    "davis2017": ("val", 30, 1999),
    "youtube_vos": ("labelled", 3471, 3471),
    "movers": ("test", 32, 320),
}
KEYS = ("mean_j", "f_beta", "j_and_f", "mean_f", "max_f", "mae")


def score(workdir, dataset="davis2016", row="fused", value=0.5, place="run", **changes):
    """Writes PLACE/eval/…json as an evaluation does.

    Args:
      row: model, or model+crf.
      value: every score but ``frame_mean_j``, which is 0.01 more.
      changes: of the file's content, of its facts, and ``folder`` below eval; ``per_sequence`` and
        ``per_group`` go into the row.
    """
    split, sequences, frames = WHOLE[dataset]
    content = {"split": split, "sequences": sequences, "frames": frames, "oracle": False}
    content |= {"phase": "3-joint", "complete": True, "checkpoint": 900, "rules": RULES}
    content |= {"protocol": registry.default_protocols(dataset)[0]}
    known = (*FACTS, "all_videos")
    facts = FACTS | {key: changes.pop(key) for key in known if key in changes}
    folder = changes.pop("folder", "")
    parts = {key: changes.pop(key) for key in ("per_sequence", "per_group") if key in changes}
    assert changes.keys() <= content.keys()
    content |= changes
    shared = {key: content.pop(key) for key in ("protocol", "frames", "sequences")}
    model, _, crf = row.partition("+")
    scores = shared | dict.fromkeys(KEYS, value) | {"frame_mean_j": value + 0.01} | parts
    report = registry.report(
        dataset,
        content.pop("split"),
        {(model, crf or "none"): scores},
        oracle=content.pop("oracle"),
    )
    report |= content | {"run": facts}
    folder = workdir / place / "eval" / folder
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{len(list(folder.iterdir()))}.json"
    path.write_text(json.dumps(report))


def table(workdir, number):
    """The json of one table after ``tables.write``."""
    tables.write(workdir)
    return json.loads((workdir / "tables" / f"table{number}.json").read_text())


def scores(workdir, number):
    """The rows that have a score: {label: scores of the columns}."""
    return {
        row["label"]: [cell and round(cell["score"], 6) for cell in row["ours"]]
        for row in table(workdir, number)["rows"]
        if any(row["ours"])
    }


def of_methods(found):
    """Scores by label and how many methods have it: their digests say nothing to a reader."""
    by_label = {}
    for label, row in found.items():
        by_label.setdefault(re.sub(r" \(method [^)]*\)", "", label), []).append(row)
    return {label: sorted(rows) for label, rows in by_label.items()}


def cell(workdir, number, label, column=0):
    (row,) = [row for row in table(workdir, number)["rows"] if row["label"] == label]
    return row["ours"][column]


def fill_everything(workdir):
    """Results for each cell of each table, two seeds of each."""
    for seed in (0, 1):
        for weight in (0, 0.1):
            run = {"seed": seed, "temporal_weight": weight, "place": f"t1-{seed}-{weight}"}
            run |= {"method": f"t1-{weight}"}
            for dataset in ("davis2016", "fbms59", "segtrackv2"):
                score(workdir, dataset, "phi", phase="0-dynamic", **run)
        for loss in ("f_measure", "confidence"):
            run = {"seed": seed, "static": loss, "place": f"t2-{seed}-{loss}", "method": loss}
            for dataset in ("davis2016", "fbms59", "segtrackv2"):
                score(workdir, dataset, "chi", phase="1-static", **run)
        run = {"seed": seed, "place": f"loop-{seed}"}
        labelled = {"seed": seed, "labels": "x:fit", "place": f"fit-{seed}", "method": "fit"}
        for crf in ("", "+cis"):
            for dataset in ("davis2016", "fbms59", "segtrackv2"):
                score(workdir, dataset, f"fused{crf}", phase="supervised-1", **labelled)
                for number in (1, 2, 3):
                    score(workdir, dataset, f"fused{crf}", phase=f"{number}-joint", **run)
            for phase in ("3-joint", "self_training"):
                for dataset in ("ecssd", "msra_b", "dut_omron"):
                    score(workdir, dataset, f"chi{crf}", phase=phase, **run)
                score(workdir, "msra_b", f"chi{crf}", phase=phase, split="test", **run)
            for dataset in ("davis2017", "youtube_vos"):
                score(workdir, dataset, f"fused{crf}", **run)
            score(workdir, "davis2017", f"fused{crf}", protocol="davis2017", **run)
        for videos in (12, 36, 60, 84, 108):
            for dataset in ("ecssd", "msra_b", "dut_omron"):
                place = f"videos-{seed}-{videos}"
                score(workdir, dataset, "chi", videos=videos, seed=seed, place=place)
