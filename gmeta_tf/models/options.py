"""How a model's steps are run: options of `MetaModel.compile`, which check themselves."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class StepOptions:
    """Options of the steps of training and evaluation.

    Attributes:
      clip_norm: largest norm of the outer gradient, of dense weights and rows together, over all
        ranks; one more collective a step. None: not clipped.
      task_chunk: tasks of a rank to work on at a time, to bound the memory; the results are equal.
        None: all.
      sizes: places of a set to do with, ascending, for batches whose sets are no larger: they cost
        less, and the results are equal. Useful with `Reader(size_window=…)`.
      cold_share: share of the outer loss that is the support set's loss before adaptation, so that
        a task without any support is scored well, too.
      step_metrics: log the seconds of a step by phase, and the bytes it sends (see `metrics.step`).
      prefetch: batches that `fit` makes ready on the device, ahead of the step.
      jit_compile: whether XLA compiles the steps (see `programs`); the results are equal to float
        tolerance. None: where it was measured to be faster, on GPUs.

    Raises:
      ValueError: an option is out of its range.
    """

    clip_norm: float | None = None
    task_chunk: int | None = None
    sizes: tuple[int, ...] = ()
    cold_share: float = 0.0
    step_metrics: bool = False
    prefetch: int = 2
    jit_compile: bool | None = None

    def __post_init__(self):
        object.__setattr__(self, "sizes", tuple(self.sizes))
        for name, least in (
            ("clip_norm", "above 0"),
            ("task_chunk", "at least 1"),
            ("prefetch", "at least 1"),
        ):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(
                    f"{name} must be {least}. Received: {name}={value}. Leave it out to do without."
                )
        if not 0 <= self.cold_share < 1:
            raise ValueError(
                f"cold_share must lie in [0, 1). Received: cold_share={self.cold_share}. Leave it "
                "out to do without."
            )
        if list(self.sizes) != sorted(set(self.sizes)) or min(self.sizes, default=1) < 1:
            raise ValueError(
                f"sizes must ascend and be at least 1. Received: sizes={self.sizes}. Sort them."
            )
        if self.jit_compile not in (None, True, False):
            raise ValueError(
                f"jit_compile must be True, False or None. Received: {self.jit_compile!r}. Leave "
                "it out for what is faster."
            )
