"""The methods' configurations, and the tables of their results."""

import dataclasses
import json
import pathlib
import re

import pytest
import yaml

import gmeta_tf as gm
from gmeta_tf.training.experiment import MODELS, Experiment

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "scripts/configs"
METHODS = sorted((CONFIGS / "methods").glob("*.yaml"))
PAGES = sorted((ROOT / "docs/methods").glob("*.md"))
SECTIONS = [
    "## What it adapts",
    "## When to use it",
    "## Train it",
    "## What it costs, and what it gives",
]
COLUMNS = ("user_id", "item_id", "age", "gender", "occupation")
SCHEMA = gm.Schema(
    "user_id", "click", tuple(map(gm.Categorical, COLUMNS)), dict.fromkeys(COLUMNS, 5)
)


@pytest.fixture
def tables(monkeypatch):
    """The module that makes the tables."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts/benchmarks"))
    from drawing import method_tables

    return method_tables


@pytest.mark.parametrize("method", METHODS, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    "base",
    [CONFIGS / "movielens_100k.yaml", *sorted((CONFIGS / "protocols").glob("*.yaml"))],
    ids=lambda p: p.stem,
)
def test_a_method_is_an_experiment_on_any_base(method, base):
    experiment = Experiment(
        **(yaml.safe_load(base.read_text()) | yaml.safe_load(method.read_text()))
    )
    assert (experiment.inner_loop.steps > 0) == (method.stem != "joint")


def test_every_method_has_a_name_and_a_page(tables):
    names = [method.stem for method in METHODS]
    assert set(names) <= set(tables.NAMES)
    assert names == [page.stem for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_the_code_of_a_page_makes_what_its_configuration_does(page):
    text = page.read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")] == SECTIONS
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    made = {"gm": gm, "schema": SCHEMA}
    exec(code, made)
    options = [
        yaml.safe_load(file.read_text())
        for file in (CONFIGS / "movielens_100k.yaml", CONFIGS / "methods" / f"{page.stem}.yaml")
    ]
    experiment, inner_loop = (
        Experiment(**options[0] | options[1]),
        made["model"].task_loop.inner_loop,
    )
    rule = dataclasses.replace(
        experiment.adaptation, learning_rate=inner_loop.learning_rate
    )  # which is the tower's and the data's
    assert inner_loop == (
        dataclasses.replace(rule, adapt="user_id") if page.stem == "metaemb" else rule
    )
    assert isinstance(made["model"], MODELS[experiment.model])


def test_a_table_by_hand(tables, tmp_path):
    def metrics(auc):
        return dict.fromkeys(tables.SHOWN["ratings_recbole"], auc)

    def trained(auc):
        return {
            "rows": {"after": {"test": metrics(auc)}},
            "curve": {"0": {"auc": 0.5}, "10": {"auc": auc}},
        }

    def baselines(auc):
        return {
            "rows": {
                "item_popularity": {"test": metrics(auc)},
                "factorisation": {"test": metrics(auc + 0.1)},
            }
        }

    kept = {
        "baselines": {"0": baselines(0.6), "1": baselines(0.5)},
        "joint": {"0": trained(0.65), "1": trained(0.75)},
        "ridge": {"0": trained(0.7), "1": trained(0.82)},
        "maml": {"1": trained(0.9)},
        "anil": {"1": trained(0.85)},
    }
    anonymous = {"maml": {"1": trained(0.8)}}
    (tmp_path / "kept.json").write_text(
        json.dumps({"ratings_recbole": kept, "ratings_anonymous": anonymous})
    )
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- ratings_recbole -->\nstale\n<!-- end -->\nkept\n<!-- ratings_recbole, paired "
        "-->\n<!-- end -->\n<!-- ablations -->\n<!-- end -->\n"
    )
    tables.render(tmp_path / "kept.json", [page])
    text = page.read_text()
    assert "| closed-form head | 2 | .7600 ± .0600 |" in text
    assert "| item popularity (smoothed item mean) | 2 | .5500 ± .0500 |" in text
    assert "| MAML | 1 | .9" not in text  # a mean over other users than the others'
    assert "| MAML | 1 | +.1500 | +.1500 | +.1500 | +.3000 |" in text
    assert (
        "| closed-form head | 2 | +.0600 ± .0100 | +.0600 ± .0100 | +.0600 ± .0100 | +.1100 ± "
        ".1100 |" in text
    )
    assert "| joint training, fine-tuned | 2 |  |  |  | +.0500 ± .1000 |" in text
    assert "| the head alone adapts | 1 | -.0500 |" in text
    assert "| no features of the user | 1 | -.1000 |" in text
    assert "stale" not in text
    assert "\nkept\n" in text
    tables.render(tmp_path / "kept.json", [page])
    assert page.read_text() == text


def test_tables_of_a_part_of_the_results(tables):
    made = tables.tables_of({"clicks_last": {"baselines": {"0": {"rows": {}}}}, "melu": {}})
    assert "clicks_last" in made
    assert "clicks_last, by support" not in made
    assert [tables.short(value) for value in (0.25, 10.5, 20.25)] == [".2500", "10.5000", "20.2500"]
    assert [tables.short(value, sign="+") for value in (0.25, -0.25, 10.5)] == [
        "+.2500",
        "-.2500",
        "+10.5000",
    ]


@pytest.mark.parametrize(
    "shown",
    [ROOT / "docs/results.md", ROOT / "docs/methods.md", *PAGES],
    ids=lambda path: path.stem,
)
def test_pages_show_the_results(tables, tmp_path, shown):
    page = tmp_path / "page.md"
    page.write_text(shown.read_text())
    tables.render(ROOT / "docs/results/statistics.json", [page])
    assert "\n|" in page.read_text()
    assert page.read_text() == shown.read_text()


def test_figures_of_cost(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts/benchmarks"))
    import method_cost

    made = method_cost.figures({"joint": 409_600.0, "maml": 204_800.0})
    assert made == {"joint_step_ms": 10.0, "maml_step_ms": 20.0, "maml_over_joint": 2.0}
    assert sorted(method_cost.METHODS) == [path.stem for path in METHODS]
