"""The tables of docs/results.md and of the methods' pages, between their markers, from the files of
results.
"""

import json
import pathlib
import re
from collections.abc import Iterable

import numpy as np

NAMES = {
    "item_popularity": "item popularity (smoothed item mean)",
    "user_mean": "shrunk user mean",
    "item_user_mean": "item mean + shrunk user mean",
    "factorisation": "matrix factorisation, folded in",
    "joint": "joint training, fine-tuned",
    "joint --inner_steps 5 --inner_lr 0.01": "joint training, fine-tuned in 5 steps",
    "maml": "MAML",
    "maml --tower mlp": "MAML, MLP tower",
    "maml --tower dcn": "MAML, DCN-v2 tower",
    "maml --tower dcn --inner_lr 0.05": "MAML, DCN-v2 tower, inner rate 0.05",
    "maml --tower deepfm": "MAML, DeepFM tower",
    "maml --tower wide_deep": "MAML, Wide & Deep tower",
    "fomaml": "FOMAML",
    "anil": "ANIL",
    "meta_sgd": "Meta-SGD",
    "maml_rates": "MAML, learned rates by step",
    "reptile": "Reptile",
    "melu": "MeLU",
    "cbml": "CBML",
    "metaemb": "Meta-Embedding",
    "ridge": "closed-form head",
    "ridge --row_l2 0.015 --learning_rate 0.01 --inner_steps 1": "closed-form head, rows penalised",
}
ABLATIONS = {
    "fomaml": "first order",
    "maml --inner_steps 1": "one inner step",
    "maml --inner_steps 5": "five inner steps",
    "maml --adapt dense": "no row adapts",
    "anil": "the head alone adapts",
    "maml --redraw false": "support and query sets as they are in the files, in every epoch",
    "maml --average_decay 0": "weights not averaged over epochs",
    "ratings_anonymous": "no features of the user",
    "ratings_counts": "how often the film was rated in training, as a feature",
}
TOWERS = {name: title for name, title in NAMES.items() if "--tower" in name}
TITLES = {
    "auc": "AUC",
    "gauc": "GAUC",
    "logloss": "log loss",
    "precision_at_5": "P@5",
    "recall_at_5": "R@5",
    "hit_rate_at_5": "HR@5",
    "ndcg_at_5": "nDCG@5",
    "mrr_at_5": "MRR@5",
    "mae": "MAE",
    "rmse": "RMSE",
    "ndcg_at_1": "nDCG@1",
    "ndcg_at_3": "nDCG@3",
}
STATES = {
    "train": "existing",
    "test": "new user",
    "train_cold_items": "new item",
    "test_cold_items": "both new",
}
RANKINGS = ("precision_at_5", "recall_at_5", "hit_rate_at_5", "ndcg_at_5", "mrr_at_5")
SHOWN = {
    "clicks_last": ("auc", "gauc", "logloss", "ndcg_at_5"),
    "clicks_recbole": ("auc", "gauc", "logloss", *RANKINGS),
    "ratings_recbole": ("auc", "gauc", *RANKINGS),
    "ratings_counts": ("auc", "gauc", *RANKINGS),
}
BASES = {"joint": "joint", "factorisation": "factorisation"}  # row -> what its column is called
PAIRED = ("auc", "gauc", "ndcg_at_5")
OF_METHOD = {
    "ratings_recbole": ("AUC of new users, ratings known", "auc"),
    "ratings_counts": ("AUC of new users, ratings and counts known", "auc"),
    "clicks_recbole": ("AUC of new users, clicks only", "auc"),
    "clicks_last": ("AUC of new users, their last clicks", "auc"),
    "melu": ("MAE of new users, MovieLens-1M", "mae"),
}


def render(results: pathlib.Path, pages: list[pathlib.Path]):
    """Replaces what stands between `<!-- name -->` and `<!-- end -->` in the pages, for every table
    that there is.
    """
    kept, costs, ranks = map(
        read, (results, results.parent / "method_cost.json", results.parent / "world_size.json")
    )
    tables = tables_of(kept)
    if ranks:
        tables["world size"] = by_ranks(ranks)
    if costs:
        tables["cost"] = by_cost(costs["figures"])
        tables |= {
            f"figures of {method}": of_method(method, kept, costs["figures"])
            for method in costed(costs["figures"])
        }
    for page in pages:
        text = page.read_text()
        for name, table in tables.items():
            place = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
            text = place.sub(rf"\g<1>\n{table}\n\n\g<2>", text)
        page.write_text(text)


def read(file: pathlib.Path) -> dict:
    """A file of results; none where there is no such file."""
    return json.loads(file.read_text()) if file.exists() else {}


def tables_of(kept: dict) -> dict[str, str]:
    """Name -> table of all results of methods."""
    tables = {
        name: by_method(kept[name], metrics) for name, metrics in SHOWN.items() if name in kept
    }
    tables |= {
        f"{name}, paired": paired(rows_of(kept[name]), BASES, NAMES)
        for name in SHOWN
        if name in kept
    }
    tables |= {
        f"{name}, towers": paired(rows_of(kept[name]), {"maml": "DLRM"}, TOWERS)
        for name in SHOWN
        if name in kept
    }
    tables |= {
        f"{name}, by support": by_support(kept[name])
        for name in SHOWN
        if trained(kept.get(name, {}))
    }
    if "melu" in kept:
        tables |= {
            f"melu, {metric}": by_state(kept["melu"], metric)
            for metric in ("mae", "ndcg_at_1", "ndcg_at_3")
        }
    if "ratings_recbole" in kept:
        rows = rows_of(kept["ratings_recbole"], NAMES | ABLATIONS)
        rows |= {
            other: rows_of(kept[other])["maml"]
            for other in ABLATIONS
            if "maml" in kept.get(other, {})
        }
        tables["ablations"] = paired(rows, {"maml": "MAML"}, ABLATIONS)
    return tables


def rows_of(methods: dict, names: Iterable[str] = NAMES) -> dict[str, dict[str, dict]]:
    """row -> seed -> partition -> metrics of what is named, in that order."""
    rows: dict[str, dict[str, dict]] = {}
    for seed, made in methods.get("baselines", {}).items():
        for row, partitions in made["rows"].items():
            rows.setdefault(row, {})[seed] = partitions
    for method in set(methods) - {"baselines"}:
        rows[method] = {seed: made["rows"]["after"] for seed, made in methods[method].items()}
    return {row: rows[row] for row in names if row in rows}


def by_method(methods: dict, metrics: tuple[str, ...]) -> str:
    """Method × metric on the partition `test`, for methods of all seeds."""
    lines = [["", "seeds", *(TITLES[m] for m in metrics)]]
    for row, seeds in complete(rows_of(methods)).items():
        lines.append(
            [
                NAMES[row],
                str(len(seeds)),
                *(mean_and_error([of["test"][m] for of in seeds.values()]) for m in metrics),
            ]
        )
    return markdown(lines)


def by_state(methods: dict, metric: str) -> str:
    """Method × state of MeLU's protocol, for methods of all seeds."""
    lines = [["", "seeds", *(f"{TITLES[metric]}, {state}" for state in STATES.values())]]
    for row, seeds in complete(rows_of(methods)).items():
        lines.append(
            [
                NAMES[row],
                str(len(seeds)),
                *(mean_and_error([of[p][metric] for of in seeds.values()]) for p in STATES),
            ]
        )
    return markdown(lines)


def by_support(methods: dict) -> str:
    """Method × support size: AUC, for methods of all seeds."""
    curves = {
        method: [made["curve"] for made in seeds.values()]
        for method, seeds in trained(methods).items()
    }
    sizes = sorted(next(iter(curves.values()))[0], key=int)
    lines = [["AUC, support samples", *sizes]]
    for method, of_seeds in curves.items():
        lines.append(
            [
                NAMES[method],
                *(short(np.mean([curve[size]["auc"] for curve in of_seeds])) for size in sizes),
            ]
        )
    return markdown(lines)


def by_ranks(made: dict) -> str:
    """Metric and precision × ranks, on new users."""
    lines: list[list[str]] = [["", "1 rank", "2 ranks", "3 ranks"]]
    for metric, precisions in made["metrics"].items():
        for precision, ranks in precisions.items():
            lines.append(
                [
                    f"{TITLES[metric]}, {precision.replace('_', ' ')}",
                    *(f"{value:.6f}" for value in ranks.values()),
                ]
            )
    return markdown(lines)


def costed(figures: dict) -> list[str]:
    """The methods whose steps were measured."""
    return [method for method in NAMES if f"{method}_step_ms" in figures]


def by_cost(figures: dict) -> str:
    """Method, with a link to its page: milliseconds of a step, and how many times those of joint
    training.
    """
    lines = [["", "ms a step", "over joint training"]]
    lines += [
        [f"[{NAMES[method]}](methods/{method}.md)", *cost_of(method, figures)]
        for method in costed(figures)
    ]
    return markdown(lines)


def cost_of(method: str, figures: dict) -> tuple[str, str]:
    """Milliseconds of a step, and how many times those of joint training."""
    return f"{figures[f'{method}_step_ms']:.1f}", f"{figures.get(f'{method}_over_joint', 1):.2f}"


def of_method(method: str, kept: dict, figures: dict) -> str:
    """What a step of a method costs, and how well it predicts by protocol, each against joint
    training, or that against plain means.
    """
    base = "item_user_mean" if method == "joint" else "joint"
    ms, times = cost_of(method, figures)
    lines = [
        ["", NAMES[method], f"against {NAMES[base]}"],
        ["ms a step", ms, "" if method == "joint" else f"{times} times"],
    ]
    for protocol, (title, metric) in OF_METHOD.items():
        rows = complete(rows_of(kept[protocol])) if protocol in kept else {}
        if method in rows and base in rows:
            values, others = (
                [rows[row][seed]["test"][metric] for seed in sorted(rows[method])]
                for row in (method, base)
            )
            lines.append(
                [
                    title,
                    mean_and_error(values),
                    mean_and_error(list(np.subtract(values, others)), sign="+"),
                ]
            )
    return markdown(lines)


def paired(rows: dict[str, dict], bases: dict[str, str], names: dict[str, str]) -> str:
    """Every named row minus each base that there is, paired over the seeds that all of
    these have.
    """
    bases = {base: title for base, title in bases.items() if base in rows}
    lines = [
        [
            "",
            "seeds",
            *(f"{TITLES[metric]} minus {title}" for title in bases.values() for metric in PAIRED),
        ]
    ]

    def minus(row, base, metric, seeds):
        return [rows[row][s]["test"][metric] - rows[base][s]["test"][metric] for s in seeds]

    for row in (row for row in names if row in rows):
        common = sorted(set(rows[row]).intersection(*(rows[base] for base in bases)), key=int)
        shown = [
            "" if row == b else mean_and_error(minus(row, b, m, common), sign="+")
            for b in bases
            for m in PAIRED
            if common
        ]
        lines += [[names[row], str(len(common)), *shown]] if common else []
    return markdown(lines)


def complete(rows: dict[str, dict]) -> dict[str, dict]:
    """The rows of the most seeds: others have means over other users, and are compared by pairs
    only.
    """
    most = max(map(len, rows.values()), default=0)
    return {row: seeds for row, seeds in rows.items() if len(seeds) == most}


def trained(methods: dict) -> dict[str, dict]:
    """The trained methods of the most seeds, in the order of `NAMES`."""
    seeds = complete({method: seeds for method, seeds in methods.items() if method != "baselines"})
    return {method: seeds[method] for method in NAMES if method in seeds}


def mean_and_error(values: list[float], *, sign: str = "") -> str:
    """Mean ± its standard error, where there are several."""
    mean = short(np.mean(values), sign=sign)
    return (
        f"{mean} ± {short(np.std(values, ddof=1) / np.sqrt(len(values)))}"
        if len(values) > 1
        else mean
    )


def short(value: float, *, sign: str = "") -> str:
    """Four digits, without a zero before the point."""
    return re.sub(r"^([+-]?)0\.", r"\1.", f"{value:{sign}.4f}")


def markdown(lines: list[list[str]]) -> str:
    """A table, the first line its head."""
    head, *rest = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([head, "|" + "---|" * len(lines[0]), *rest])
