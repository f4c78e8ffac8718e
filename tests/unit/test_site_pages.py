"""The pages that `mkdocs build` makes, and where links lead on the site."""

import importlib
import pathlib
from types import SimpleNamespace

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def site_pages(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("site_pages")


def page(uri):
    return SimpleNamespace(file=SimpleNamespace(src_uri=uri))


def test_every_public_module_has_its_place(site_pages):
    listed = site_pages.modules()
    public = {
        str(path.relative_to(ROOT).with_suffix("")).replace("/", ".")
        for path in (ROOT / "gmeta_tf").rglob("[!_]*.py")
    }
    assert {module for modules in listed.values() for module in modules} == {
        m for m in public if not m.startswith("gmeta_tf.cli.")
    }
    assert listed["gmeta_tf.metrics"] == [
        f"gmeta_tf.metrics.{name}"
        for name in ("auc", "calibration", "click", "merged", "named", "ranking", "rating", "step")
    ]
    assert "gmeta_tf.metaio.sources.files" in listed["gmeta_tf.metaio"]
    assert "gmeta_tf.schema" in listed["gmeta_tf"]
    assert {"gmeta_tf.job.comm", "gmeta_tf.job.launch"} < set(listed["gmeta_tf.job"])


def test_navigation_has_every_package(site_pages):
    config = site_pages.on_config(SimpleNamespace(nav=[{"Home": "index.md"}], extra_css=[]))
    assert config.nav[0] == {"Home": "index.md"}
    assert {"gmeta_tf": "api/gmeta_tf.md"} in config.nav[1]["API"]
    assert {"gmeta_tf.meta": "api/meta.md"} in config.nav[1]["API"]


def test_reference_lists_exports_and_modules(site_pages):
    made = site_pages.reference("gmeta_tf", ["gmeta_tf.schema"]).splitlines()
    assert made[0] == "# gmeta_tf"
    assert "- `InnerLoop`: [gmeta_tf.meta.inner_loop.InnerLoop][]" in made
    assert made[-1] == "::: gmeta_tf.schema"
    assert "_tensorflow" not in "".join(made)


@pytest.mark.parametrize(
    ("uri", "link", "expected"),
    [
        ("index.md", "[data](docs/data.md)", "[data](data.md)"),
        ("index.md", "![curve](docs/results/a.png)", "![curve](results/a.png)"),
        ("index.md", "[images](docker/README.md#one-host)", "[images](docker.md#one-host)"),
        ("index.md", "[licence](LICENSE)", "licence"),
        (
            "data.md",
            "[rows.py](../gmeta_tf/metaio/rows.py)",
            "[rows.py](api/metaio.md#gmeta_tf.metaio.rows)",
        ),
        ("data.md", "[schema](../gmeta_tf/schema.py)", "[schema](api/gmeta_tf.md#gmeta_tf.schema)"),
        ("data.md", "[all](../gmeta_tf/__init__.py)", "[all](api/gmeta_tf.md)"),
        (
            "methods/maml.md",
            "[loop](../../gmeta_tf/meta/inner_loop.py)",
            "[loop](../api/meta.md#gmeta_tf.meta.inner_loop)",
        ),
        ("methods/maml.md", "[data](../data.md)", "[data](../data.md)"),
        ("data.md", "[train](../scripts/train.py)", "train"),
        ("data.md", "[gone](../scripts/gone.py)", "[gone](../scripts/gone.py)"),
        (
            "data.md",
            "[paper](https://arxiv.org/abs/2401.04338) [below](#read)",
            "[paper](https://arxiv.org/abs/2401.04338) [below](#read)",
        ),
        ("api/gmeta_tf.md", "[gmeta_tf.schema.Schema][]", "[gmeta_tf.schema.Schema][]"),
    ],
)
def test_links(site_pages, uri, link, expected):
    assert site_pages.on_page_markdown(link, page(uri), None, None) == expected


def test_warns_of_private_names_in_the_reference(site_pages, caplog):
    for uri in ("api/meta.md", "data.md"):
        assert (
            site_pages.on_page_content("<p>see <code>_step</code></p>", page(uri), None, None)
            == "<p>see <code>_step</code></p>"
        )
    (warning,) = caplog.messages
    assert (
        warning
        == "api/meta.md must name nothing private. Received: ['_step']. Mend the docstrings or defaults that do."
    )
