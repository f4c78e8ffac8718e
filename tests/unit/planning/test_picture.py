"""A plan as a picture."""

import matplotlib.image
import pytest

from gmeta_tf.planning.cluster import Cluster, Device
from gmeta_tf.planning.forecast import forecast
from gmeta_tf.planning.job import Job, TableUse
from gmeta_tf.planning.picture import draw, shown
from gmeta_tf.planning.tower import mlp

JOB = Job(
    tables=(TableUse("t", 10**7, 16, lookups=64),),
    tower=mlp(2, dim=16, hidden=(64,)),
    tasks=64,
    support=16,
    query=16,
)


@pytest.mark.parametrize("shapes", [[(1, 4), (2, 4), (4, 4)], [(1, 1)]])
def test_it_is_drawn(tmp_path, shapes):
    file = tmp_path / "new" / "plan.png"
    draw(
        [forecast(JOB, Cluster().of_shape(*shape)) for shape in shapes],
        file,
        note="Calibrated on nothing.",
    )
    assert matplotlib.image.imread(file).std() > 0.05


@pytest.mark.parametrize("step_us", [0.0, 1e5])
def test_the_bars_add_up_to_the_step(step_us):
    time = forecast(JOB, Cluster(device=Device(step_us=step_us))).time
    assert time.hidden > 0
    assert min(shown(time).values()) >= 0
    assert sum(shown(time).values()) == pytest.approx(time.total)
