"""The inner loop: a few gradient steps on a task's support set."""

import dataclasses
import math
from collections.abc import Callable

from gmeta_tf._tensorflow import tf
from gmeta_tf.meta.low_rank import LowRankKernel

POLICIES = ("all", "dense", "head")
RATES = ("fixed", "per_step", "per_element")
RULES = ("gradient", "newton")


@dataclasses.dataclass(frozen=True)
class InnerLoop:
    """φᵏ⁺¹ = φᵏ - αᵏ ∘ ∇L(S; φᵏ), k = 0 … steps - 1, and what of it the outer loop sees.

    One rule of which the published ones are settings (`docs/methods` has a page each):

    - MAML: as it stands (Finn et al., ICML 2017, arXiv:1703.03400, algorithm 1). FOMAML:
      `second_order=False` (section 5.2).
    - ANIL: `adapt="head"` (Raghu et al., ICLR 2020, arXiv:1909.09157).
    - Meta-SGD: `rates="per_element"`, a learned α of the shape of each weight, for all steps alike
      (Li et al., 2017, arXiv:1707.09835, equation 3). Embedding rows learn one of the shape of a
      row for each table.
    - Rates per layer and step, of MAML++: `rates="per_step"`, a learned scalar for each weight, or
      table, and step (Antoniou et al., ICLR 2019, arXiv:1810.09502, section 4).
    - Closed form: `rule="newton", adapt="head"`; the head is solved for, between the support set
      and a prior (Bertinetto et al., ICLR 2019, arXiv:1805.08136; see `meta.newton`).
    - Reptile: `reptile=True`; the outer gradient is (φ⁰ - φᴷ) / α, not one of a query loss (Nichol
      et al., 2018, arXiv:1803.02999, section 2).

    L is a mean, whose steps are as long for one sample as for twenty, whatever one is worth. With a
    prior strength κ each is n / (n + κ) of that, n real support samples. That is the posterior mean
    of a Gaussian prior, φ⁰ its mean, which counts as κ samples: for a quadratic loss one step of
    Newton's size goes n / (n + κ) of the way to the samples' own optimum (Gelman et al., "Bayesian
    Data Analysis", 3rd edition, section 2.5; for MAML as inference of φ: Grant et al., ICLR 2018,
    arXiv:1801.08930, section 3).

    Attributes:
      steps: number of gradient steps; 0 does not adapt.
      learning_rate: step size of the inner loop, or where it is learned its first value; with
        Newton's steps the variance of the prior, to which one step with the sum of the support's
        gradients tends as it goes to zero.
      second_order: whether the outer gradient passes through the steps (MAML) or stops at them
        (FOMAML).
      adapt: which weights are adapted: "all" (dense weights and rows), "dense", "head" (the tower's
        last layer, or its `head` attribute), the rows of some tables ("user_id"), these together
        ("head+user_id"), or a predicate on dense variables and on tables
        (`embedding.partition.Table`), both of which have a name.
      rates: "fixed", or learned with the outer loop: "per_step" or "per_element".
      rule: "gradient", or "newton" for a head in closed form.
      reptile: whether the outer gradient is the way that the inner loop went.
      prior_strength: κ, support samples that the prior is worth; 0 takes full steps, whatever a
        task's samples. Where it is learned its first value.
      learn_prior: whether κ is learned with the outer loop: one for the model, or where rates are
        learned one for each adapted weight and table (see `meta.prior`).
    """

    steps: int = 1
    learning_rate: float = 0.1
    second_order: bool = True
    adapt: str | Callable = "dense"
    rates: str = "fixed"
    rule: str = "gradient"
    reptile: bool = False
    prior_strength: float = 0.0
    learn_prior: bool = False

    def __post_init__(self):
        if self.steps < 0:
            raise ValueError(f"steps must be at least 0. Received: steps={self.steps}.")
        if not 0 <= self.learning_rate < math.inf or (self.reptile and not self.learning_rate):
            raise ValueError(
                "learning_rate must be finite and at least 0, and above it with reptile. "
                f"Received: {self.learning_rate}. Pass 0.1, say."
            )
        if self.rates not in RATES:
            raise ValueError(
                f"rates must be one of {RATES}. Received: rates={self.rates!r}. Choose one of "
                "these."
            )
        if self.rule not in RULES:
            raise ValueError(
                f"rule must be one of {RULES}. Received: rule={self.rule!r}. Choose one of these."
            )
        if self.rule == "newton" and (
            self.adapt != "head" or self.rates == "per_step" or self.reptile
        ):
            raise ValueError(
                "adapt must be 'head', with fixed rates or one per element and no reptile, for "
                "rule 'newton'. "
                f"Received: adapt={self.adapt!r}, rates={self.rates!r}, reptile={self.reptile}. "
                "Leave the others out."
            )
        if self.rule == "newton" and self.rates != "fixed" and not self.second_order:
            raise ValueError(
                "second_order must be True with rates that are learned for rule 'newton', whose "
                "gradient it is. Received: False. "
                "Leave one out."
            )
        if self.reptile and not callable(self.adapt) and self.adapt != "all":
            raise ValueError(
                "adapt must be 'all' with reptile, which moves adapted weights only. Received: "
                f"adapt={self.adapt!r}. Adapt all."
            )
        if self.reptile and self.rates != "fixed":
            raise ValueError(
                "rates must be 'fixed' with reptile, which has no gradient for them. Received: "
                f"rates={self.rates!r}. Leave one out."
            )
        self._check_prior()
        if not callable(self.adapt):
            names = self.adapt.split("+")
            if (
                not all(names)
                or set(names[1:]) & set(POLICIES)
                or (names[0] == "all" and names[1:])
            ):
                raise ValueError(
                    f"adapt must be one of {POLICIES}, tables, 'dense' or 'head' with tables as in "
                    "'head+user', or a predicate. "
                    f"Received: adapt={self.adapt!r}. Name the weights to adapt."
                )

    def _check_prior(self):
        if not 0 <= self.prior_strength < math.inf or (
            self.learn_prior and not self.prior_strength
        ):
            raise ValueError(
                "prior_strength must be finite and at least 0, and above it where it is learned. "
                f"Received: {self.prior_strength}. Pass 5, say."
            )
        if self.prior_strength and self.rule == "newton":
            raise ValueError(
                "prior_strength must be 0 for rule 'newton', whose learning rate is the variance "
                f"of its prior. Received: {self.prior_strength}. Pass a smaller learning_rate."
            )
        if self.learn_prior and self.reptile:
            raise ValueError(
                "learn_prior must be False with reptile, which has no gradient for it. Received: "
                "True. Leave one out."
            )

    def __call__(
        self,
        support_loss: Callable,
        weights,
        *,
        samples: tf.Tensor | None = None,
        rates: Callable | None = None,
        strengths=None,
    ):
        """Adapts a structure of tensors.

        Args:
          support_loss: maps weights to the scalar loss on the support set.
          weights: structure of float tensors and `LowRankKernel`s, φ⁰.
          samples: scalar n, the real samples of the support set, of which a prior strength makes
            something.
          rates: maps a step's number to αᵏ, a structure as `weights` of scalars or tensors of their
            shapes (see `meta.rates`). None: the learning rate.
          strengths: κ, a scalar for all weights or a structure as of `rates` (see `meta.prior`).
            None: the prior strength.

        Returns:
          The fast weights φᴷ, of the same structure.

        Raises:
          ValueError: a prior strength without samples.
        """
        shares = self._shares(samples, strengths, len(tf.nest.flatten(weights)))
        for step in range(self.steps):
            flat = tf.nest.flatten(weights)
            with tf.GradientTape() as tape:
                tape.watch([w.kernel if isinstance(w, LowRankKernel) else w for w in flat])
                loss = support_loss(weights)
            places = [w.outputs if isinstance(w, LowRankKernel) else w for w in flat]
            gradients = tape.gradient(
                loss, places, unconnected_gradients=tf.UnconnectedGradients.ZERO
            )
            sizes = tf.nest.flatten(rates(step)) if rates else [self.learning_rate] * len(flat)
            if shares is not None:
                sizes = [size * share for size, share in zip(sizes, shares, strict=True)]
            weights = tf.nest.pack_sequence_as(
                weights, list(map(self._step, flat, gradients, sizes))
            )
        return weights

    def _shares(self, samples, strengths, count):
        """n / (n + κ) of each of `count` weights; None where κ is 0."""
        if not self.prior_strength:
            return None
        if samples is None:
            raise ValueError(
                "samples must be given with a prior strength. Received: None, "
                f"prior_strength={self.prior_strength}. Pass the number of support samples."
            )
        strengths = self.prior_strength if strengths is None else strengths
        if not isinstance(strengths, tuple | list):
            strengths = [strengths] * count
        return [
            tf.math.divide_no_nan(samples, samples + strength)
            for strength in tf.nest.flatten(strengths)
        ]

    def _step(self, weight, gradient, rate):
        second_order = self.second_order and not self.reptile
        if isinstance(weight, LowRankKernel):
            return weight.moved(gradient, learning_rate=rate, second_order=second_order)
        gradient = tf.convert_to_tensor(gradient)  # densifies the slices that a gather leaves
        return weight - rate * (gradient if second_order else tf.stop_gradient(gradient))

    def dense_variables(self, tower: tf.keras.Model) -> list[tf.Variable]:
        """The variables of a tower that the policy adapts."""
        variables = tower.trainable_variables
        if self.steps == 0:
            return []
        if callable(self.adapt):
            return [variable for variable in variables if self.adapt(variable)]
        policy, _ = policy_and_tables(self.adapt)
        if policy == "head":
            chosen = {id(variable) for variable in _head(tower).trainable_variables}
            return [variable for variable in variables if id(variable) in chosen]
        return list(variables) if policy else []

    def require_known(self, tables: set[str]):
        """Raises ValueError if the policy names a table that is not among `tables`."""
        unknown = sorted(set(self._tables()) - tables)
        if unknown:
            raise ValueError(
                f"adapt must name {POLICIES} or tables of the schema, {sorted(tables)}. Received: "
                f"adapt={self.adapt!r}, with {unknown}. "
                "Name one of them."
            )

    def adapts_rows(self, table) -> bool:
        """Whether the policy adapts the rows of a table."""
        chosen = (
            self.adapt(table)
            if callable(self.adapt)
            else self.adapt == "all" or table.name in self._tables()
        )
        return self.steps > 0 and bool(chosen)

    def _tables(self):
        return [] if callable(self.adapt) else policy_and_tables(self.adapt)[1]


def policy_and_tables(adapt: str) -> tuple[str, list[str]]:
    """What a policy in words names: one of `POLICIES`, or "" for no dense weight; and tables."""
    names = adapt.split("+")
    return (names[0], names[1:]) if names[0] in POLICIES else ("", names)


def _head(tower):
    """The tower's `head`, or its last layer with weights."""
    if hasattr(tower, "head"):
        return tower.head
    if not tower.trainable_variables:
        raise ValueError(
            f"tower must have a layer with weights for the policy 'head'. Received: {tower.name!r} "
            "without any."
        )
    last = tower.trainable_variables[-1]
    return next(
        layer for layer in tower.submodules if any(held is last for held in vars(layer).values())
    )
