"""An experiment: its configuration, and the model and data that follow from it."""

import dataclasses
import math
import pathlib
from collections.abc import Callable

import yaml
from rich.table import Table

from gmeta_tf import configs
from gmeta_tf._tensorflow import tf
from gmeta_tf.embedding.exchange import WIRE_BYTES
from gmeta_tf.embedding.initial_rows import Normal
from gmeta_tf.embedding.optimizers import ROW_OPTIMIZERS
from gmeta_tf.embedding.placement import REPLICATE_ROWS, placements
from gmeta_tf.job import comm
from gmeta_tf.meta.inner_loop import InnerLoop, policy_and_tables
from gmeta_tf.meta.losses import LOSSES
from gmeta_tf.metaio.folder import spelled
from gmeta_tf.metaio.manifest import Manifest
from gmeta_tf.metaio.reader import Reader
from gmeta_tf.metrics.named import METRICS, default_metrics, require_fitting
from gmeta_tf.models.base import MetaModel
from gmeta_tf.models.cbml import CBML
from gmeta_tf.models.dense_optimizer import require_unscaled
from gmeta_tf.models.metaemb import MetaEmb
from gmeta_tf.models.towers import TOWERS, make_tower
from gmeta_tf.schema import Categorical
from gmeta_tf.training import durable
from gmeta_tf.training.run_folder import require_mounted

METHODS = ("meta", "joint")
MODELS: dict[str, type[MetaModel]] = {"meta": MetaModel, "cbml": CBML, "metaemb": MetaEmb}
SCHEDULES = ("constant", "cosine")
RANGES = (
    (
        "embedding_dim cross_layers clusters global_batch_tasks epochs steps_per_execution "
        "prefetch",
        lambda v: v >= 1,
        "at least 1",
    ),
    (
        "cross_rank inner_steps task_chunk size_window replicate_rows checkpoint_every_steps "
        "patience",
        lambda v: v >= 0,
        "at least 0",
    ),
    (
        "row_scale inner_lr prior_strength learning_rate row_learning_rate row_l2 weight_decay "
        "clip_norm",
        lambda v: 0 <= v < math.inf,
        "finite and at least 0",
    ),
    ("dropout cold_share average_decay", lambda v: 0 <= v < 1, "in [0, 1)"),
    ("fewer_support", lambda v: 0 <= v <= 1, "in [0, 1]"),
    ("cold_rate", lambda v: v is None or 0 <= v <= 1, "in [0, 1]"),
)
OF_A_RESUMED_RUN = (
    *("learning_rate", "row_learning_rate", "clip_norm", "checkpoint_every_steps", "rows_on"),
)
LENGTHS = ("epochs", "patience")  # of training; a schedule runs over all epochs
PLACES = ("run", "data")  # options of where things lie, which may be moved
CHECKPOINTS = "checkpoints"  # a run's folder of them
DIGEST = "data.sha256"  # a run's file, of the data that it was trained on


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What to train, on what, and how.

    Attributes:
      data: prepared folder (gmeta prepare).
      run: folder for checkpoints, logs and results.
      method: "meta" trains in two loops; "joint" trains on support and query together, without an
        inner loop.
      tower: "dlrm", "mlp", "dcn", "deepfm" or "wide_deep".
      embedding_dim: width of the tables' rows.
      bottom: hidden layers of the bottom MLP (dlrm).
      top: hidden layers of the top MLP, or of the deep part.
      cross_layers: cross layers below these (dcn).
      cross_rank: of the kernels of cross layers; 0 keeps them whole.
      activation: of the hidden layers.
      dropout: rate after each of the layers of `top`.
      row_scale: deviation of the rows' first values.
      first_output: what the tower gives at first, about, by its head's bias: the mean rating, say.
      model: "meta", or one whose first weights depend on the task: "cbml" (gates of soft clusters)
        or "metaemb" (a row that is generated from features).
      clusters: number of soft clusters (cbml).
      identity: categorical feature whose row is generated (metaemb); "": the task key.
      identity_features: features that it is generated from (metaemb), which say the same in all
        samples of an id.
      adapt: weights that the inner loop adapts: "all", "dense", "head", tables ("user_id"), or
        these together ("head+user_id").
      inner_steps: steps of the inner loop; for "joint", of the fine-tuning to a new task.
      inner_lr: its learning rate.
      prior_strength: support samples that what is known before them is worth: a task of n takes
        n / (n + prior_strength) of each inner step; 0 takes all of it, however few they are.
      learn_prior: learn the prior strength with the outer loop, from this value on.
      second_order: MAML; otherwise FOMAML.
      rates: of the inner loop: "fixed" at inner_lr, or learned, "per_step" for each weight and
        step, "per_element" (Meta-SGD).
      rule: of the inner loop: "gradient", or "newton" for a head in closed form (with adapt
        "head").
      reptile: the outer gradient is the way that the inner loop went, not that of a query loss.
      loss: of both loops: "binary_crossentropy", "mse" or "pairwise".
      metrics: of evaluation: "click"; "ranking", the same where scores are no log odds; "liked",
        for ratings of which those above 3.5 count as clicks; "rating"; "": as the loss has it. The
        first of them, AUC or the MAE of ratings, says which epoch is best.
      cold_share: share of the outer loss that is the support set's before adaptation.
      learning_rate: of the dense weights (Adam).
      weight_decay: of the dense weights, decoupled.
      row_optimizer: of the embedding rows: "sgd", "adagrad", "rowwise_adagrad", "adam" or "ftrl".
      row_learning_rate: of the embedding rows.
      row_l2: strength of the penalty on the square of each row that a step touches, which keeps
        rows of rare ids small.
      schedule: of both learning rates over all epochs: "constant", or "cosine" down to zero.
      clip_norm: largest norm of the outer gradient, of dense weights and rows together; 0 does not
        clip.
      average_decay: of the weights' moving average over epochs, which predicts in their place; 0
        averages nothing.
      global_batch_tasks: tasks a step, over all ranks.
      epochs: at most.
      patience: epochs without a better validation metric before training stops.
      cold_rate: probability that a training task's own id is out of vocabulary in an epoch;
        default: 1 where the id is a feature, else 0.
      cold_rates: {feature or table: probability} that a value of it is out of vocabulary in an
        epoch, for a model that is to meet new items, say; default: none is.
      redraw: split training tasks' samples anew into support and query in every epoch.
      fewer_support: probability that a training task adapts to some of its support samples only, in
        an epoch, for a model that is to adapt to few as well as to many; of no effect on the joint
        method.
      steps_per_execution: steps a call of the graph.
      task_chunk: tasks of a rank to work on at a time, to bound the memory; 0 takes all at once.
      sizes: places of a set to do with, ascending, for batches of smaller tasks; the results are
        equal.
      size_window: batches among whose tasks those of like size go together; 0 leaves tasks in the
        order drawn.
      prefetch: batches to read, and to make ready on the device, ahead of the step.
      mixed_precision: the tower computes in bfloat16; its weights and the rows stay in float32.
      replicate_rows: tables of at most so many rows are replicated on every rank, larger ones
        sharded.
      placement: {table: "sharded" or "replicated"}, over `replicate_rows`.
      wire_dtype: of rows and their gradients in transit: "float32", "bfloat16" or "float16", with
        which gradients travel as bfloat16.
      rows_on: "cpu" keeps rows and slots in the host's memory, where a GPU's is too small; "": with
        the computation.
      step_metrics: log the seconds of a step by phase, and the bytes it sends.
      checkpoint_every_steps: saves within epochs as well; 0 only at their end.
      seed: of everything random.
    """

    data: str = "data/ml-100k"
    run: str = "runs/movielens"
    method: str = "meta"
    tower: str = "dlrm"
    embedding_dim: int = 16
    bottom: tuple[int, ...] = (16,)
    top: tuple[int, ...] = (64, 32)
    cross_layers: int = 2
    cross_rank: int = 0
    activation: str = "relu"
    dropout: float = 0.0
    row_scale: float = 0.05
    first_output: float = 0.0
    model: str = "meta"
    clusters: int = 4
    identity: str = ""
    identity_features: tuple[str, ...] = ()
    adapt: str = "dense"
    inner_steps: int = 3
    inner_lr: float = 0.1
    prior_strength: float = 0.0
    learn_prior: bool = False
    second_order: bool = True
    rates: str = "fixed"
    rule: str = "gradient"
    reptile: bool = False
    loss: str = "binary_crossentropy"
    metrics: str = ""
    cold_share: float = 0.0
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    row_optimizer: str = "adagrad"
    row_learning_rate: float = 0.1
    row_l2: float = 0.0
    schedule: str = "constant"
    clip_norm: float = 0.0
    average_decay: float = 0.0
    global_batch_tasks: int = 32
    epochs: int = 60
    patience: int = 10
    cold_rate: float | None = None
    cold_rates: dict[str, float] = dataclasses.field(default_factory=dict)
    redraw: bool = True
    fewer_support: float = 0.0
    steps_per_execution: int = 1
    task_chunk: int = 0
    sizes: tuple[int, ...] = ()
    size_window: int = 0
    prefetch: int = 4
    mixed_precision: bool = False
    replicate_rows: int = REPLICATE_ROWS
    placement: dict[str, str] = dataclasses.field(default_factory=dict)
    wire_dtype: str = "float32"
    rows_on: str = ""
    step_metrics: bool = True
    checkpoint_every_steps: int = 0
    seed: int = 0

    def __post_init__(self):
        allowed = {
            "method": METHODS,
            "tower": TOWERS,
            "row_optimizer": tuple(ROW_OPTIMIZERS),
            "schedule": SCHEDULES,
        }
        allowed |= {"loss": tuple(LOSSES), "metrics": ("", *METRICS)}
        allowed["model"] = tuple(MODELS)
        allowed |= {"wire_dtype": tuple(WIRE_BYTES), "rows_on": ("", "cpu")}
        for name, values in allowed.items():
            given = getattr(self, name)
            if given not in values:
                ships = given in configs.named(configs.METHODS)
                remedy = f"It is a configuration: --config {given}" if ships else "Choose one"
                raise ValueError(
                    f"{name} must be one of {values}. Received: {name}={given!r}. {remedy}."
                )
        for names, holds, rule in RANGES:
            for name in names.split():
                if not holds(getattr(self, name)):
                    raise ValueError(
                        f"{name} must be {rule}. Received: {name}={getattr(self, name)}. Leave it "
                        "out for the default."
                    )
        require_fitting(self.measured_by, self.loss)
        if self.row_optimizer == "ftrl" and self.schedule != "constant":
            raise ValueError(
                "schedule must be 'constant' with row_optimizer 'ftrl', whose rows are a multiple "
                f"of its rate. Received: schedule={self.schedule!r}. Leave it out, or take adagrad."
            )
        if self.method == "joint" and (
            self.model == "cbml" or self.rates != "fixed" or self.learn_prior
        ):
            raise ValueError(
                "method must be 'meta' for what an inner loop trains. Received: method='joint' "
                f"with model={self.model!r}, rates={self.rates!r}, "
                f"learn_prior={self.learn_prior}. Leave these out."
            )
        if self.model == "cbml" and (
            policy_and_tables(self.adapt)[0] not in ("all", "dense") or not self.inner_steps
        ):
            raise ValueError(
                "adapt must be 'all' or 'dense', in one step at least, with model 'cbml', which "
                "gates all dense weights. Received: "
                f"adapt={self.adapt!r}, inner_steps={self.inner_steps}. Adapt them all."
            )
        for name in PLACES:
            object.__setattr__(self, name, spelled(getattr(self, name), name=name))
        require_mounted(self.run, name="run")
        object.__setattr__(self, "bottom", tuple(self.bottom))
        object.__setattr__(self, "top", tuple(self.top))
        object.__setattr__(self, "sizes", tuple(self.sizes))
        object.__setattr__(self, "identity_features", tuple(self.identity_features))
        _ = self.adaptation  # which checks its part

    @property
    def measured_by(self) -> str:
        """The name of its metrics."""
        return self.metrics or default_metrics(self.loss)

    @property
    def inner_loop(self) -> InnerLoop:
        """The adaptation rule in training: none for the joint method."""
        return (
            dataclasses.replace(self.adaptation, steps=0)
            if self.method == "joint"
            else self.adaptation
        )

    @property
    def adaptation(self) -> InnerLoop:
        """The adaptation rule for a new task: that of training, or the fine-tuning of the joint
        method.
        """
        return InnerLoop(
            self.inner_steps,
            self.inner_lr,
            second_order=self.second_order,
            adapt=self.adapt,
            rates=self.rates,
            rule=self.rule,
            reptile=self.reptile,
            prior_strength=self.prior_strength,
            learn_prior=self.learn_prior,
        )

    def save(self, manifest: Manifest):
        """Writes `config.yaml` into the run's folder, and what identifies the data."""
        plain = {
            k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()
        }
        run = pathlib.Path(self.run)
        durable.replace_text(run / "config.yaml", yaml.safe_dump(plain, sort_keys=False))
        durable.replace_text(run / DIGEST, f"{manifest.digest}\n")

    def require_resumable(self, before: "Experiment"):
        """Raises ValueError unless a run of another configuration may go on with this one, which
        differs in learning rates, clipping, saving, places and, where rates are constant, in how
        long it trains at most.
        """
        free = OF_A_RESUMED_RUN + (LENGTHS if self.schedule == "constant" else LENGTHS[1:])
        fixed = {field.name for field in dataclasses.fields(self)} - {*free, *PLACES}
        other = [
            f"{name}={getattr(self, name)!r}, which was {getattr(before, name)!r}"
            for name in sorted(fixed)
            if getattr(self, name) != getattr(before, name)
        ]
        if other:
            raise ValueError(
                f"configuration must be that of the run to resume, but for {free}. "
                f"Received: {'; '.join(other)}. Give the same options."
            )

    @classmethod
    def load(cls, run) -> "Experiment":
        """The configuration of a run.

        Raises:
          FileNotFoundError: the folder holds none.
          ValueError: it lies in an object store.
        """
        path = require_mounted(run, name="run") / "config.yaml"
        if not path.exists():
            raise FileNotFoundError(
                f"run must be the folder of a training. Received: {run}, without config.yaml. "
                "Train first."
            )
        return cls(**yaml.safe_load(path.read_text()))

    def require_same_data(self, manifest: Manifest):
        """Raises ValueError unless the run was trained on this data, whose ids its rows
        stand for.
        """
        trained_on = (pathlib.Path(self.run) / DIGEST).read_text().strip()
        if manifest.digest != trained_on:
            raise ValueError(
                f"data must be what the run was trained on. Received: {self.data}, whose content "
                "has another digest than "
                f"{self.run}/{DIGEST}. Prepare it as before, or train anew."
            )


def build_model(
    experiment: Experiment,
    schema,
    *,
    steps: int = 1,
    measured: Callable | None = None,
    first_rows: bool = True,
) -> MetaModel:
    """The compiled model of an experiment.

    Args:
      experiment: the configuration.
      schema: of the data.
      steps: of its whole training, over which a schedule runs.
      measured: makes the metrics; default: those of the experiment.
      first_rows: False leaves the tables' rows zero, where a checkpoint is about to fill them.

    Raises:
      ValueError: Keras's policy is mixed_float16, whose scaled losses no outer step would have.
    """
    require_unscaled(tf.keras.mixed_precision.global_policy().name)
    tf.keras.utils.set_random_seed(experiment.seed)
    if not experiment.mixed_precision:
        return _built(experiment, schema, steps, measured, first_rows)
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        return _built(experiment, schema, steps, measured, first_rows)
    finally:  # None follows floatx, as where nobody has set a policy
        tf.keras.mixed_precision.set_global_policy(
            None if before.name == tf.keras.backend.floatx() else before
        )


def _built(experiment, schema, steps, measured, first_rows):
    tower = make_tower(
        experiment.tower,
        dim=experiment.embedding_dim,
        bottom=experiment.bottom,
        top=experiment.top,
        cross_layers=experiment.cross_layers,
        cross_rank=experiment.cross_rank,
        activation=experiment.activation,
        dropout=experiment.dropout,
    )
    own = {
        "cbml": {"clusters": experiment.clusters},
        "metaemb": {
            "identity": experiment.identity or None,
            "features": experiment.identity_features,
        },
    }
    model = MODELS[experiment.model](
        schema,
        tower,
        embedding_dim=experiment.embedding_dim,
        seed=experiment.seed,
        distribution=Normal(experiment.row_scale),
        replicate_rows=experiment.replicate_rows,
        placement=experiment.placement,
        wire_dtype=experiment.wire_dtype,
        rows_on=experiment.rows_on or None,
        first_rows=first_rows,
        **own.get(experiment.model, {}),
    )
    model.tower.head.bias.assign_add([experiment.first_output])

    def scheduled(rate):
        return (
            tf.keras.optimizers.schedules.CosineDecay(rate, steps)
            if experiment.schedule == "cosine"
            else rate
        )

    model.compile(
        tf.keras.optimizers.Adam(
            scheduled(experiment.learning_rate), weight_decay=experiment.weight_decay or None
        ),
        row_optimizer=ROW_OPTIMIZERS[experiment.row_optimizer](
            scheduled(experiment.row_learning_rate), l2=experiment.row_l2
        ),
        inner_loop=experiment.inner_loop,
        clip_norm=experiment.clip_norm or None,
        cold_share=experiment.cold_share,
        loss=experiment.loss,
        metrics=measured or experiment.measured_by,
        task_chunk=experiment.task_chunk or None,
        sizes=experiment.sizes,
        prefetch=experiment.prefetch,
        step_metrics=experiment.step_metrics,
        steps_per_execution=experiment.steps_per_execution,
    )
    return model


def placement_table(model: MetaModel) -> Table:
    """What this rank keeps of each embedding table."""
    table = Table(
        "table",
        "rows",
        "dim",
        "placement",
        "MB a rank",
        title=f"embedding tables on rank {comm.rank()} of {comm.size()}",
    )
    stacks, of_row = model.embedding.stacks, model.embedding.bytes_per_row()
    for *columns, kept in placements(
        stacks, rank=comm.rank(), size=comm.size(), bytes_per_row=of_row
    ):
        table.add_row(*map(str, columns), f"{kept / 1e6:.2f}")
    return table


def reader(experiment: Experiment, partition: str, **options) -> Reader:
    """This rank's reader of a partition."""
    own = {
        "global_batch_tasks": experiment.global_batch_tasks,
        "seed": experiment.seed,
        "prefetch": experiment.prefetch,
    }
    own |= {"rank": comm.rank(), "size": comm.size()}
    return Reader(experiment.data, partition, **(own | options))


def training_data(experiment: Experiment) -> tuple[Reader, Reader]:
    """This rank's readers of training and validation tasks."""
    own = {
        "cold_rate": cold_rate_of(experiment, Manifest.load(experiment.data)),
        "cold_rates": experiment.cold_rates,
        "redraw": experiment.redraw,
        "joined": experiment.method == "joint",
        "size_window": experiment.size_window,
        "fewer_support": experiment.fewer_support,
    }
    return reader(experiment, "train", **own), reader(experiment, "validation")


def cold_rate_of(experiment: Experiment, manifest: Manifest) -> float:
    """The experiment's `cold_rate`, or the one that follows from the schema."""
    if experiment.cold_rate is not None:
        return experiment.cold_rate
    own = [f for f in manifest.schema.positions if f.name == manifest.schema.task]
    if not own or not isinstance(own[0], Categorical):
        return 0.0
    return float(manifest.tables[own[0].table].vocabulary.out_of_vocabulary)
