"""Forward passes alone over the sequences of a step: log-probabilities, values, rewards, a teacher's logits."""

from __future__ import annotations

from llmcost.ground.algebra import Number, largest, maximum, present, sum_of
from llmcost.machine.timing import collective_seconds
from llmcost.parallel.layout import stage_of, telling_stages
from llmcost.training.communication import data_collectives
from llmcost.training.memory import fullest
from llmcost.training.passes import ALL_DIVIDED, Setup, forward_pass
from llmcost.training.step_time import left_of, part_of


def forward_seconds(at: Setup) -> Number:
    """Expected seconds of one forward pass over a whole batch in a layout.

    Micro-batches follow each other through the pipeline, and the first one fills it. With ZeRO-3 weights are gathered
    for each. The ring of context parallelism and sends between stages are left out.
    """
    layout, layers = at.layout, at.model.num_hidden_layers
    a_pass = forward_pass(at)
    first, inside, last = (part_of(ops, at).forward.total() for ops in a_pass)
    piped = present(layout.pp - 1)
    if layout.stages is None:
        share = stage_of(layout, layers, 0).layers / layers
        one = share * inside + (maximum(first, last) if piped else first + last)
    else:
        each = [stage_of(layout, layers, index) for index in telling_stages(layout)]
        one = largest([at.layers / layers * inside + at.first * first + at.last * last for at in each])
    gathered: Number = 0
    if layout.zero == ALL_DIVIDED:
        held = fullest(a_pass, layout, layers)
        _, weights = data_collectives(held, layout, at.recipe, held)
        sent = sum_of([collective_seconds(op, at.chip.links, at.efficiency) for op in weights])
        gathered = left_of(sent, one, at.recipe.overlap.data)
    fill = maximum(0, first + inside + last - one) if piped else 0
    return layout.micro_batches() * (one + gathered) + fill
