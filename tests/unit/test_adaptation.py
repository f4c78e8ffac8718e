"""The figures of adaptation to few samples, by hand."""

import math
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def adaptation(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts/benchmarks"))
    import adaptation

    return adaptation


def seeds(*curves, rest=0.0):
    """seed -> a run's result, from AUC by support size 0, 1, 2, 20."""
    return {
        str(seed): {
            "curve": {
                size: {"auc": value}
                for size, value in zip(("0", "1", "2", "20"), curve, strict=True)
            },
            "rows": {"after": {"test": {"auc": curve[-1] + rest}}},
        }
        for seed, curve in enumerate(curves)
    }


RUNS = {
    "clicks_last": {
        "maml": seeds((0.70, 0.68, 0.72, 0.78), (0.70, 0.66, 0.72, 0.76)),
        "maml --prior_strength 5 --fewer_support 0.5": seeds(
            (0.70, 0.73, 0.75, 0.77), (0.70, 0.71, 0.74, 0.76), rest=-0.01
        ),
        "joint": seeds((0.70, 0.69, 0.72, 0.77), (0.71, 0.69, 0.72, 0.77)),
        "joint --prior_strength 5": seeds((0.70, 0.69, 0.72, 0.77), (0.71, 0.69, 0.73, 0.77)),
    }
}


def test_figures(adaptation):
    made = adaptation.figures(RUNS)
    assert made["readme_auc_1_minus_0"] == pytest.approx(0.02)  # of .03 and .01
    assert made["readme_auc_1_minus_0_in_se"] == pytest.approx(2)
    assert made["readme_largest_fall"] == pytest.approx(-0.02)  # it rises: at least by so much
    assert made["methods_that_hurt"] == 1  # joint training
    assert made["full_support_loss"] == pytest.approx(0.015)  # of all samples; .005 of 20
    few = [(0.73 + 0.75 - 0.69 - 0.72) / 2, (0.71 + 0.74 - 0.69 - 0.73) / 2]
    mean, error = sum(few) / 2, abs(few[0] - few[1]) / 2
    assert made["meta_minus_joint_few_in_se"] == pytest.approx(mean / error, rel=1e-3)
    assert made["melu_new_both_mae_minus_user_mean"] is None
    table = adaptation.by_size(RUNS["clicks_last"], "auc")
    assert "| maml | 2 | .7000 | .6700 | .7200 | .7700 | -.0300 ± .0100 |" in table


def test_what_is_compared(adaptation):
    assert adaptation.variants("joint") == ["joint", "joint --prior_strength 5"]
    assert adaptation.variants("ridge") == ["ridge", "ridge --fewer_support 0.5"]
    assert len(adaptation.variants("maml")) == 4
    assert adaptation.hurts({"0": {"0": 0.6, "1": 0.61}}, "mae")
    assert not adaptation.hurts({"0": {"0": 0.6, "1": 0.61}}, "auc")
    assert math.isnan(adaptation.error_of([1.0]))
