"""Predicts masks by the networks of a run, and says what of it matters to the user."""

from dataclasses import replace
from pathlib import Path

from ml_collections import ConfigDict

from data_prep.video import Recipe
from dystab_jax.build import Run
from dystab_jax.commands import predict
from dystab_jax.commands.predict import Wanted
from dystab_jax.commands.runs import open_runs
from dystab_jax.evaluation import options as eval_options
from dystab_jax.evaluation import snapshot_choice
from dystab_jax.evaluation.snapshots import Snapshot
from dystab_jax.prediction import flow_of_training
from dystab_jax.prediction.engine import Engine, learned, set_adaptation
from dystab_jax.prediction.files import check_formats
from dystab_jax.prediction.flow_of_training import Asked
from dystab_jax.prediction.sources import is_image
from dystab_jax.runtime.interruption import ending_by_ctrl_c

AS_IN_TRAINING = Asked()


def predict_masks(
    config: ConfigDict | None,
    workdir: Path,
    source: Path,
    output: Path,
    asked: Asked = AS_IN_TRAINING,
    wanted: Wanted = predict.DEFAULT,
    adapt: bool | None = None,
) -> None:
    """Writes masks of an image, a folder of frames or a video, and what else is wanted.

    Flow is computed as that of the training data where ``asked`` does not say otherwise.

    Args:
      config: as in ``train``.
      workdir: of one run, or of exported networks.
      source, output, wanted: see `predict.predict`.
      asked: how flow is computed.
      adapt: whether networks learn from each video first; None: as ``eval.adaptation`` says.
    """
    check_formats(wanted.formats, wanted.instances)
    (run,) = open_runs(config, workdir, "predict")
    set_adaptation(run.config, adapt)
    eval_options.check(run.config)
    recipe = Recipe()
    if not is_image(source):
        recipe, notes = flow_of_training.choose(run, asked)
        for note in notes:
            print(note if note.startswith("warning: ") else f"note: {note}")
    (snapshot,) = snapshot_choice.chosen(run, "last")
    rules = [*rules_of(run, snapshot), ("CRF", run.config.eval.crf)]
    if recipe.max_gap:
        rules.append(("flow", f"{recipe.flow.estimator}, gaps up to {recipe.max_gap}"))
    variables = learned(snapshot)
    if "chi" not in variables:
        print(f"warning: {workdir} is in phase {snapshot.phase}; chi has learned nothing yet")
    engine = Engine(run, variables, recipe)
    with ending_by_ctrl_c():
        written = predict.predict(engine, source, output, replace(wanted, notes=rules))
    pages = [path for path in written if path.name == predict.PAGE]
    print(f"{len(written)} files in {output}")
    for page_file in pages:
        print(f"page    {page_file}")


def rules_of(run: Run, snapshot: Snapshot) -> list[tuple[str, str]]:
    """Says for a page how masks are made; without folders, which are of this machine."""
    options = run.config.eval
    made = f"{run.workdir.name}, trained on {run.config.data.train}, phase {snapshot.phase}"
    rules = [("networks", made), ("fusion", options.fusion)]
    if options.adaptation.rounds:
        rules.append(("adaptation", "the networks have learned from each piece of the video first"))
    return rules
