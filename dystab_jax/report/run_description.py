"""Describes how a run was trained and scored, in sentences for the report."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from dystab_jax import object_choice
from dystab_jax.report.charts import NAMES


def facts(report: Mapping[str, Any], config: ConfigDict) -> dict[str, str]:
    """Describes the training and scoring behind a report.

    Args:
      report: content of eval/DATASET-SPLIT.json.
      config: as it was run.

    Returns:
      Sentences by what each is about, in the order of the page.
    """
    data, loss, plan = config.data, config.loss, config.bootstrap
    height, width = data.image_size
    return {
        "training data": f"{data.train} at {width}×{height}, batches of {data.batch_size}, "
        f"seed {config.seed}" + _growth(report),
        "scored on": f"{report['dataset']}:{report['split']}, protocol {report['protocol']}",
        "φ, motion": _describe_segmenter(config.phi),
        "χ, appearance": _describe_segmenter(config.chi),
        "ψ, inpainter": _describe_psi(config.psi.model),
        "optimizers": "; ".join(
            f"{NAMES[name]} {config[name].optimizer.name} {config[name].optimizer.learning_rate:g}"
            for name in ("phi", "psi", "chi")
        ),
        "losses": f"{loss.mask_mode.replace('_', ' ')} masks in L_A, weight of L_TC "
        f"{loss.temporal_weight:g}, margin δ {loss.margin:g}",
        "schedule": f"{plan.warm_up_epochs:g} epochs of warm-up, {plan.dynamic_epochs:g} of φ and "
        f"ψ, then {plan.rounds} rounds of {plan.static_epochs:g} of χ and {plan.joint_epochs:g} of "
        f"φ and ψ, at least {plan.get('least_updates', 0)} updates in each phase"
        + (f", {plan.growth_rounds} more for videos that were added" if _growth(report) else ""),
        "after the loop": _refinement(config),
        "CRF": ", ".join(sorted({row["crf"] for row in report["rows"]})),
        "fusion": f"{report['rules']['fusion']}"
        + (", χ alone where its L_A is greater" if trusts_loss_a(report) else "")
        + "; the border rule says which region "
        f"is the object, {'once per video' if config.eval.vote else 'in every frame'}",
    }


def _growth(report: Mapping[str, Any]) -> str:
    """Says to how many videos a run grew; nothing of one that had all from the start."""
    grown = report.get("run", {}).get("grown", ())
    return f"; of {', then '.join(map(str, grown))} videos" if grown else ""


def trusts_loss_a(report: Mapping[str, Any]) -> bool:
    """Returns whether fusion takes χ alone where its L_A is greater than φ's."""
    rules = report["rules"]
    return rules["fusion"] in object_choice.COMBINING and rules["trust"] == "loss_a"


def _describe_segmenter(section: ConfigDict) -> str:
    weights = f"weights from {section.pretrained}" if section.pretrained else "from scratch"
    return (
        f"DeepLab on {section.model.backbone}, output stride {section.model.output_stride}, "
        f"{section.model.norm} norm, {weights}"
    )


def _describe_psi(model: ConfigDict) -> str:
    fit = "" if model.parametric == "none" else f"{model.parametric} fit of the context"
    widths = ", ".join(map(str, model.widths))
    network = f"a network of widths {widths}" if widths else ""
    if fit and not network:
        return f"{fit} in closed form, which learns nothing"
    return ", then ".join(part for part in (fit, network) if part)


def _refinement(config: ConfigDict) -> str:
    if config.self_training.data:
        own = config.self_training
        return f"{own.epochs:g} epochs of self-training on {own.data}, refined by {own.crf}"
    if config.supervised.data:
        return f"fine-tuning with the labels of {config.supervised.data}: not unsupervised"
    return "nothing"
