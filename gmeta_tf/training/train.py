"""A run: trained from its beginning, or from where it was left."""

import csv
import json
import pathlib
import shutil
import statistics

from rich.console import Console

from gmeta_tf._tensorflow import tf
from gmeta_tf.job import comm
from gmeta_tf.job.report import EARLIER_REPORT, REPORT
from gmeta_tf.metaio.folder import Contents, require_replaceable
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.metaio.reader import Reader
from gmeta_tf.metrics.named import MONITORED
from gmeta_tf.training import checkpoint, durable
from gmeta_tf.training.average import AverageWeights
from gmeta_tf.training.callbacks import Checkpoints
from gmeta_tf.training.experiment import (
    CHECKPOINTS,
    DIGEST,
    Experiment,
    build_model,
    placement_table,
)
from gmeta_tf.training.finite import RequireFinite
from gmeta_tf.training.profile import Profile
from gmeta_tf.training.progress import Progress
from gmeta_tf.training.run_folder import locked, only_writer, require_mounted
from gmeta_tf.training.untrained import untrained_tables

HISTORY = "history.csv"
RUN = Contents(
    "gmeta train",
    "config.yaml",
    (
        *(DIGEST, "train.json", HISTORY, "metrics.json", "metrics_*.json", "support_curve.*"),
        *("picture.png", REPORT, EARLIER_REPORT, ".*.new"),
        *(name for folder in ("tensorboard", "profile") for name in (folder, f"{folder}/*")),
        CHECKPOINTS,
        *(f"{CHECKPOINTS}/{name}" for name in ("last", "best", "step-*", ".*")),
    ),
)  # and what gmeta evaluate leaves there
CACHED_SAMPLES = 1_000_000  # of validation, at most, that a rank keeps in memory


def open_run(experiment: Experiment, manifest: Manifest, *, resume: bool, overwrite: bool):
    """Makes the run's folder, or checks that it fits.

    Raises:
      FileExistsError: it holds a run with a checkpoint, and neither `resume` nor `overwrite` is
        given, or something else than a run.
      FileNotFoundError: there is no run to resume.
      NotADirectoryError: it is a file.
      ValueError: it holds a run of another configuration or data than those to resume.
    """
    run = require_folder(experiment.run)
    if resume:
        experiment.require_resumable(Experiment.load(run))
        experiment.require_same_data(manifest)
        experiment.save(manifest)
        return
    if run.exists() and any(path.name not in (REPORT, EARLIER_REPORT) for path in run.iterdir()):
        if not overwrite and not _untrained(run):
            raise FileExistsError(
                f"run must be a new or empty folder. Received: {run}, which holds something. Pass "
                "--overwrite or --resume."
            )
        remove_run(run)
    run.mkdir(parents=True, exist_ok=True)
    experiment.save(manifest)


def require_folder(run) -> pathlib.Path:
    """The path of a folder that is there, or may be made.

    Raises:
      NotADirectoryError: it is a file.
    """
    run = pathlib.Path(run)
    if run.exists() and not run.is_dir():
        raise NotADirectoryError(f"run must be a folder. Received: {run}, a file. Name another.")
    return run


def _untrained(run):
    """Whether a start made this folder that ended before it saved anything."""
    return (run / "config.yaml").exists() and not any((run / CHECKPOINTS).glob("step-*"))


def takes_reports(run: pathlib.Path, *, goes_on: bool) -> bool:
    """Whether a start may write into a folder what ends it: not into what is no run, and not into a
    run that it neither resumes nor replaces.
    """
    if not run.is_dir():
        return not run.exists()
    others = {path.name for path in run.iterdir()} - {REPORT, EARLIER_REPORT}
    return not others or _untrained(run) or (goes_on and "config.yaml" in others)


def remove_run(run: pathlib.Path):
    """Removes the folder of a run that no job writes into.

    Raises:
      FileExistsError: it holds something else.
      ValueError: another job writes into it.
    """
    require_replaceable(run, RUN, overwrite=True, name="run")
    with locked(run / CHECKPOINTS):
        shutil.rmtree(run)


def train(
    experiment: Experiment,
    data: Reader,
    validation: Reader,
    *,
    resume: str | None = None,
    profile: bool = False,
):
    """Trains until the best validation metric stays the best, or resumes a run; leaves a summary in
    the run's `train.json`.

    Collective.

    Args:
      experiment: the configuration.
      data: reader of training tasks, as `training_data` gives it.
      validation: reader of validation tasks.
      resume: go on from the run's checkpoint of this name, "last" or "best".
      profile: profile some steps into the run's folder (see `training.profile`).

    Raises:
      gmeta_tf.job.stop.Stopped: the job was asked to stop, and has saved.
    """
    run = require_mounted(experiment.run, name="run")
    with only_writer(run / CHECKPOINTS):
        saving = _trained(experiment, data, validation, resume=resume, profile=profile)
    if comm.rank() == 0:
        summary = json.dumps(_summary(run, saving.position), indent=1)
        durable.replace_text(run / "train.json", summary)


def _trained(experiment, data, validation, *, resume, profile) -> Checkpoints:
    """Trains; returns what knows how far."""
    run = pathlib.Path(experiment.run)
    found = checkpoint.find(run / CHECKPOINTS, resume) if resume else None
    steps = experiment.epochs * data.steps_per_epoch
    model = build_model(experiment, data.schema, steps=steps, first_rows=not found)
    if comm.rank() == 0:
        Console().print(comm.describe(), placement_table(model), sep="\n")
    average = [AverageWeights(model, experiment.average_decay)] if experiment.average_decay else []
    position = checkpoint.load(found, model) if found else None
    if position:
        position["finished"] = ends(position, experiment)
    if experiment.schedule == "constant":
        model.optimizer.learning_rate = experiment.learning_rate  # which a resumed run may change
    metric, mode = MONITORED[experiment.measured_by]
    stop = tf.keras.callbacks.EarlyStopping(
        f"val_{metric}", mode=mode, patience=experiment.patience
    )
    saving = Checkpoints(
        run / CHECKPOINTS,
        steps_per_epoch=data.steps_per_epoch,
        monitor=f"val_{metric}",
        mode=mode,
        stateful=[stop],
        every_steps=experiment.checkpoint_every_steps or None,
        resume=found,
        position=position,
    )
    if found and comm.rank() == 0:
        print(f"{run}: {_told(saving.position, found)}")
        drop_epochs(run / HISTORY, saving.position["epoch"])
    if not saving.position["finished"]:
        saving.fit(
            model,
            data.stream(epoch=saving.position["epoch"], step=saving.position["step"]),
            epochs=experiment.epochs,
            validation_data=validation.dataset(cached=validation.samples <= CACHED_SAMPLES),
            callbacks=[
                RequireFinite(),
                Progress(data.samples),
                *average,
                stop,
                *_loggers(run, resume=bool(resume), profile=profile),
            ],
            verbose=0,
        )
        untrained = untrained_tables(model, data.manifest)
        if untrained and comm.rank() == 0:
            print(untrained_note(untrained), flush=True)
    return saving


def ends(position, experiment: Experiment) -> bool:
    """Whether a run stands at its end, of which a resumed one may have another than before."""
    waited = max((own.get("wait", 0) for own in position["callbacks"]), default=0)
    lasts = position["finished"] and waited >= max(1, experiment.patience)
    return position["epoch"] >= experiment.epochs or lasts


def _told(position, found) -> str:
    """Where a run goes on."""
    if position["finished"]:
        return f"is finished, with {position['epoch']} epochs"
    step = f", step {position['step']}" if position["step"] else ""
    return f"goes on from epoch {position['epoch'] + 1}{step} ({found.name})"


def drop_epochs(history: pathlib.Path, first: int):
    """Drops the rows of epochs that a checkpoint does not have: a run that ended between a row and
    its checkpoint, or goes on from its best epoch, has them again.

    Args:
      history: CSV file whose first column is the epoch; a last row that is not whole goes, too.
      first: of the epochs to drop.
    """
    if not history.exists():
        return
    head, *rows = history.read_text().splitlines(keepends=True) or [""]

    def stays(row):
        epoch = row.split(",")[0]
        return row.endswith("\n") and epoch.isdigit() and int(epoch) < first

    durable.replace_text(history, "".join([head, *filter(stays, rows)]))


def untrained_note(tables) -> str:
    """What is told of tables whose values all were known in training."""
    rates = ", ".join(f"{name}: 0.2" for name in tables)
    return (
        f"note: no training task had a value out of vocabulary of {', '.join(tables)}: new values "
        f"are scored by rows that were never trained. Hide some in training: cold_rates {{{rates}}}"
    )


def _summary(run, position):
    """`ranks`, `train_seconds`, `samples_per_second` (but for the first epoch, which traces) and
    `epochs` of a whole run.
    """
    with (run / HISTORY).open() as file:
        rates = [float(row["samples_per_second"]) for row in csv.DictReader(file)]
    return {
        "ranks": comm.size(),
        "train_seconds": round(position["seconds"], 2),
        "samples_per_second": round(statistics.harmonic_mean(rates[1:] or rates), 1),
        "epochs": len(rates),
    }


def _loggers(run, *, resume, profile):
    """TensorBoard and CSV logs, on rank 0; a profile, on every rank."""
    profiles = [Profile(run / "profile")] if profile else []
    if comm.rank():
        return profiles
    return [
        *profiles,
        tf.keras.callbacks.CSVLogger(str(run / HISTORY), append=resume),
        tf.keras.callbacks.TensorBoard(str(run / "tensorboard"), write_graph=False),
    ]
