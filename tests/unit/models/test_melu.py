from task_batch import SCHEMA

from gmeta_tf import MeLU


def test_decision_layers_adapt_and_embeddings_do_not():
    model = MeLU(SCHEMA)
    model.compile()
    assert [v.shape.as_list()[-1] for v in model.task_loop.variables] == [64, 64, 64, 64, 1, 1]
    assert not model.task_loop.rows.adapt
    assert {stack.dim for stack in model.embedding.stacks} == {32}
    assert float(model.loss_function(3.0, 5.0)) == 4.0
