"""Fills Table 6: the static model by the number of videos that the run was trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dystab_jax.report import paper_tables
from dystab_jax.report.filled_table import Cell, FilledRow, FilledTable, Sources
from dystab_jax.report.results import Result, first, one_per_seed

_Method = tuple[int, str]
"""Number of training videos, and method with training data."""


@dataclass(frozen=True)
class _SeedScore:
    """Holds the score of one seed's run over all sets, images and numbers of its sources."""

    score: float
    images: int
    sources: list[int]


def fill(results: Sequence[Result]) -> FilledTable:
    """Fills Table 6: IoU of χ over the images of all saliency sets, by training videos.

    One run's score is the mean over the images of all sets that it was scored on; the table gives
    mean and standard deviation over the seeds, its two columns.
    """
    sources = Sources()
    scores = _scores(results, sources)
    rows = []
    for videos in sorted({videos for videos, _ in scores} | paper_tables.VIDEOS_PAPER.keys()):
        methods = [method for number, method in scores if number == videos]
        for method in methods or [""]:
            label = f"{videos} videos" + (f" (method {method})" if len(methods) > 1 else "")
            paper = list(paper_tables.VIDEOS_PAPER.get(videos, (None, None)))
            rows.append(FilledRow(label, paper, _cells(scores.get((videos, method), []))))
    return FilledTable(
        table=6,
        title=paper_tables.VIDEOS_TITLE,
        note="IoU of χ's masks cut at one half, times 100, mean over the images of "
        "ECSSD, MSRA-B and DUT-OMRON together (of those in the sources); standard deviation over "
        "the seeds.",
        config=paper_tables.VIDEOS_CONFIG,
        columns=["mIoU", "Std. Dev."],
        rows=rows,
        sources=sources.entries,
    )


def _scores(results: Sequence[Result], sources: Sources) -> Mapping[_Method, list[_SeedScore]]:
    """Returns the score of each seed's run, of each method."""
    found: dict[_Method, dict[str, list[Result]]] = {}  # by method, then by data set
    for result in filter(_counts, results):
        method = result.facts["videos"], f"{result.method} on {result.facts['train']}"
        found.setdefault(method, {}).setdefault(result.report["dataset"], []).append(result)
    scores: dict[_Method, list[_SeedScore]] = {}
    for method, by_set in sorted(found.items()):
        by_seed: dict[int, list[Result]] = {}
        for candidates in by_set.values():
            last = first(candidates, lambda result: paper_tables.FINAL.index(result.phase))
            for result in one_per_seed(last):
                by_seed.setdefault(result.facts["seed"], []).append(result)
        for own in by_seed.values():
            images = [result.report["frames"] for result in own]
            score = float(np.average([one.row["mean_j"] for one in own], weights=images))
            cited = [sources.cite(one, paper_tables.IMAGE_SCORES) for one in own]
            scores.setdefault(method, []).append(_SeedScore(score, sum(images), cited))
    return scores


def _counts(result: Result) -> bool:
    return (
        bool(result.facts["videos"])
        and (result.report["dataset"], result.report["split"]) in paper_tables.VIDEOS_SETS
        and (result.row["model"], result.row["crf"]) == ("chi", "none")
        and result.phase in paper_tables.FINAL
        and result.report["protocol"] == "saliency"
        and not result.report["oracle"]
    )


def _cells(seeds: Sequence[_SeedScore]) -> list[Cell | None]:
    """Returns mean and standard deviation over the seeds; the latter needs two of them."""
    if not seeds:
        return [None, None]
    values, runs = [seed.score for seed in seeds], len(seeds)
    images = min(seed.images for seed in seeds)
    whole = paper_tables.VIDEOS_IMAGES
    remark = f"{images} of {whole}" if images < whole else ""
    cited = sorted({number for seed in seeds for number in seed.sources})
    mean = Cell(float(np.mean(values)), None, None, runs, remark, cited)
    if runs == 1:
        return [mean, None]
    return [mean, Cell(float(np.std(values, ddof=1)), None, None, runs, "", [])]
