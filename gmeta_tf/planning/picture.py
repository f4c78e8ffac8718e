"""A plan as a picture: throughput, efficiency and the time of a step against the number of
ranks.
"""

import pathlib
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from gmeta_tf.planning.forecast import Forecast
from gmeta_tf.planning.step import StepTime

COLOURS = {
    "compute": "#4c72b0",
    "packing": "#8172b3",
    "exchange": "#dd8452",
    "all-reduce": "#55a868",
    "latency": "#c44e52",
}


def draw(forecasts: Sequence[Forecast], path: pathlib.Path, *, note: str):
    """Writes a PNG of forecasts for clusters of different sizes.

    Args:
      forecasts: of one job.
      path: the file.
      note: what they are computed from.
    """
    ordered = sorted(forecasts, key=lambda each: each.cluster.ranks)
    ranks = [each.cluster.ranks for each in ordered]
    alone = [each.samples_per_second / each.efficiency for each in ordered]
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    throughput, efficiency, split = figure.subplots(1, 3)
    throughput.plot(
        ranks,
        [each.samples_per_second for each in ordered],
        "o-",
        color=COLOURS["compute"],
        label="predicted",
    )
    throughput.plot(ranks, alone, "--", color="grey", label="ranks x one rank alone")
    throughput.set(title="samples/s", xlabel="ranks", xticks=ranks, ylim=(0, None))
    throughput.yaxis.set_major_formatter(EngFormatter())
    throughput.legend()
    efficiency.plot(ranks, [each.efficiency for each in ordered], "o-", color=COLOURS["all-reduce"])
    efficiency.set(title="scaling efficiency", xlabel="ranks", xticks=ranks, ylim=(0, 1.05))
    _bars(split, ordered)
    figure.suptitle(f"A model, not a measurement. {note}", fontsize=8, wrap=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def shown(time: StepTime) -> dict[str, float]:
    """What a step waits for, without what is hidden, which is taken from the latency first and then
    from the exchange.
    """
    parts = dict(time.parts)
    hidden = -parts.pop("hidden")
    of_latency = min(hidden, parts["latency"])
    return parts | {
        "latency": parts["latency"] - of_latency,
        "exchange": parts["exchange"] - (hidden - of_latency),
    }


def _bars(axes, ordered):
    names = [each.cluster.name for each in ordered]
    below = [0.0] * len(ordered)
    for part, colour in COLOURS.items():
        heights = [1e3 * shown(each.time)[part] for each in ordered]
        axes.bar(names, heights, bottom=below, label=part, color=colour)
        below = [low + height for low, height in zip(below, heights, strict=True)]
    axes.set(title="time of a step, ms", xlabel="nodes x devices", ylim=(0, 1.35 * max(below)))
    axes.legend(ncols=2)
