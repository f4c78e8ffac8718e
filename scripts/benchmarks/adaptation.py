"""Whether adaptation serves a new user better from the first sample on: every method as it is, and
with a prior strength and small supports in training, by support size.

    python scripts/benchmarks/adaptation.py --json docs/results/adaptation.json
        everything: a day on two cores
    python scripts/benchmarks/adaptation.py --only clicks_last --methods maml joint --seeds 3
        some methods on one protocol
    python scripts/benchmarks/adaptation.py --quick
        MAML and joint training on the README's protocol, one seed
    python scripts/benchmarks/adaptation.py --runs runs/adaptation/runs.json --render
        the figures of what was run before

Trainings are those of method_statistics.py, by its protocols and on MovieLens-1M, with options over
a method's file; what is run again is replaced. Prints AUC (of MeLU's ratings the MAE) by support
size, and paired differences over seeds with their standard errors.
"""

import json
import pathlib

import jsonargparse
import method_statistics as statistics
import numpy as np
from drawing.method_tables import markdown, mean_and_error, short

PRIOR, FEWER = "--prior_strength 5", "--fewer_support 0.5"
VARIANTS = ("", PRIOR, FEWER, f"{PRIOR} {FEWER}")
NEW = VARIANTS[-1]
QUICK = ("maml", "joint")
WITHOUT_STEPS = ("ridge",)  # whose prior is its own: nothing of a prior strength
FEW, FULL = ("1", "2", "5", "10"), "20"
MONITORED = {"melu": "mae"}


def main():
    """Trains what is asked for, prints the tables and keeps the figures."""
    options = parser().parse_args()
    if options.quick:
        options.only, options.methods, options.seeds = ["clicks_last"], list(QUICK), 1
    runs = pathlib.Path(options.runs)
    if not options.render:
        runs.parent.mkdir(parents=True, exist_ok=True)
        own = jsonargparse.Namespace(vars(options))
        own.methods = [name for method in options.methods for name in variants(method)]
        if "melu" in options.only:
            own.methods.append(statistics.BASELINES)
        statistics.run_all(own, runs)
    kept = json.loads(runs.read_text())
    for protocol, methods in kept.items():
        print(f"\n{protocol}\n\n{by_size(methods, metric_of(protocol))}")
    made = figures(kept)
    print(json.dumps(made, indent=1))
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps({"figures": made, "runs": kept}) + "\n")


def parser() -> jsonargparse.ArgumentParser:
    """The options."""
    made = jsonargparse.ArgumentParser(description=__doc__)
    names = [name for name in statistics.METHODS if name != statistics.BASELINES]
    made.add_argument(
        "--only",
        nargs="+",
        choices=list(statistics.PROTOCOLS),
        default=[n for n in statistics.PROTOCOLS if n != "ratings_anonymous"],
        help="protocols",
    )
    made.add_argument("--methods", nargs="+", choices=names, default=names)
    made.add_argument("--seeds", type=int, help="number of seeds; default: the protocol's")
    made.add_argument("--first_seed", type=int, default=0, help="the first of them")
    made.add_argument("--jobs", type=int, default=2, help="trainings at a time, one thread each")
    made.add_argument("--quick", action="store_true", help="two methods, one protocol, one seed")
    made.add_argument("--work", type=str, default="runs/adaptation", help="for data and runs")
    made.add_argument("--raw", type=str, help="folder that holds ml-100k and ml-1m")
    made.add_argument("--runs", type=str, default="runs/adaptation/runs.json", help="their results")
    made.add_argument("--render", action="store_true", help="train nothing")
    made.add_argument("--json", type=str, help="file for the figures")
    return made


def metric_of(protocol: str) -> str:
    """The metric by which methods are compared."""
    return MONITORED.get(protocol, "auc")


def variants(method: str) -> list[str]:
    """A method with the options that it is compared under: joint training sees no support sets, the
    closed form has no steps.
    """
    if method in WITHOUT_STEPS:
        own: tuple[str, ...] = ("", FEWER)
    else:
        own = ("", PRIOR) if method == "joint" else VARIANTS
    return [f"{method} {options}".strip() for options in own]


def newest(method: str) -> str:
    """The last of a method's variants: all that serves few samples."""
    return variants(method)[-1]


def methods_of(runs: dict) -> list[str]:
    """The methods of a protocol that have been run as they are, and with all that is new."""
    names = {name.split()[0] for name in runs if name != statistics.BASELINES}
    return sorted(n for n in names if n in runs and newest(n) in runs)


def curves(runs: dict, name: str, metric: str) -> dict[str, dict[str, float]]:
    """seed -> support size -> value."""
    return {
        seed: {size: values[metric] for size, values in made["curve"].items()}
        for seed, made in runs[name].items()
    }


def by_size(runs: dict, metric: str) -> str:
    """Variant × support size: the mean, and what one sample and few are worth over none."""
    made = {name: curves(runs, name, metric) for name in runs if name != statistics.BASELINES}
    sizes = sorted(next(iter(next(iter(made.values())).values())), key=int)
    lines = [[metric, "seeds", *sizes, "1 - 0", f"mean of {', '.join(FEW)}"]]
    for name, seeds in sorted(made.items()):
        means = [short(np.mean([curve[size] for curve in seeds.values()])) for size in sizes]
        gains = [curve["1"] - curve["0"] for curve in seeds.values()]
        few = [few_of(curve) for curve in seeds.values()]
        own = [mean_and_error(gains, sign="+"), mean_and_error(few)]
        lines.append([name, str(len(seeds)), *means, *own])
    return markdown(lines)


def few_of(curve: dict[str, float]) -> float:
    """The mean over small supports."""
    return float(np.mean([curve[size] for size in FEW if size in curve]))


def error_of(values) -> float:
    """The standard error of a mean; NaN of one value."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def figures(kept: dict) -> dict[str, float | None]:
    """What the claims rest on, as far as it was run; None: it was not."""
    made = {
        "methods_that_hurt": sum(
            hurts(curves(runs, newest(name), metric_of(protocol)), metric_of(protocol))
            for protocol, runs in kept.items()
            for name in methods_of(runs)
        ),
        "full_support_loss": full_support_loss(kept),
        **of_readme(kept.get("clicks_last", {})),
        **of_melu(kept.get("melu", {})),
    }
    return {
        name: None if value is None or np.isnan(value) else round(float(value), 5)
        for name, value in made.items()
    }


def hurts(seeds: dict, metric: str) -> bool:
    """Whether adaptation to some number of samples is worse than none by more than one standard
    error, paired over seeds.
    """
    sign = -1 if metric == "mae" else 1
    for size in next(iter(seeds.values())):
        gains = [sign * (curve[size] - curve["0"]) for curve in seeds.values()]
        error = error_of(gains)
        if np.mean(gains) < -(0 if np.isnan(error) else error):
            return True
    return False


def full_support_loss(kept: dict) -> float | None:
    """What a method as it is has over the same with what is new, at 20 samples and at all: the mean
    over seeds of the worst method.
    """
    losses = []
    for protocol, runs in kept.items():
        metric = metric_of(protocol)
        sign = -1 if metric == "mae" else 1
        for name in methods_of(runs):
            before, after = runs[name], runs[newest(name)]
            common = sorted(set(before) & set(after))
            for value in (_at_full, _at_all):
                pairs = [(value(before[s], metric), value(after[s], metric)) for s in common]
                losses.append(sign * np.mean([one - other for one, other in pairs]))
    return max(losses, default=None)


def _at_full(made, metric):
    return made["curve"].get(FULL, made["curve"][max(made["curve"], key=int)])[metric]


def _at_all(made, metric):
    return made["rows"]["after"]["test"][metric]


def of_readme(runs: dict) -> dict[str, float | None]:
    """Of the README's protocol and its method."""
    names = ("readme_auc_1_minus_0", "readme_auc_1_minus_0_in_se", "readme_largest_fall")
    made: dict[str, float | None] = dict.fromkeys((*names, "meta_minus_joint_few_in_se"))
    if newest("maml") not in runs:
        return made
    own = curves(runs, newest("maml"), "auc")
    gains = [curve["1"] - curve["0"] for curve in own.values()]
    means = [
        np.mean([curve[size] for curve in own.values()])
        for size in sorted(next(iter(own.values())), key=int)
    ]
    made |= dict(
        zip(
            names,
            (np.mean(gains), np.mean(gains) / error_of(gains), -min(np.diff(means))),
            strict=True,
        )
    )
    if newest("joint") in runs:
        joint = curves(runs, newest("joint"), "auc")
        over = [few_of(own[seed]) - few_of(joint[seed]) for seed in sorted(set(own) & set(joint))]
        made["meta_minus_joint_few_in_se"] = np.mean(over) / error_of(over)
    return made


def of_melu(runs: dict) -> dict[str, float | None]:
    """Of MeLU on new users with new items: errors minus those of the shrunk user mean."""
    made: dict[str, float | None] = {
        f"melu_new_both_{metric}_minus_user_mean": None for metric in ("mae", "rmse")
    }
    name = newest("melu")
    if name in runs and statistics.BASELINES in runs:
        for metric in ("mae", "rmse"):
            made[f"melu_new_both_{metric}_minus_user_mean"] = np.mean(
                [
                    of_seed["rows"]["after"]["test_cold_items"][metric]
                    - runs[statistics.BASELINES][seed]["rows"]["user_mean"]["test_cold_items"][
                        metric
                    ]
                    for seed, of_seed in runs[name].items()
                    if seed in runs[statistics.BASELINES]
                ]
            )
    return made


if __name__ == "__main__":
    main()
