"""The planner: its best is a loop's best, its figures are the training engine's, and what loses is told why."""

import json
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcost.ground.errors import InputError
from llmcost.parallel.layout import RECOMPUTE, ZERO, Layout
from llmcost.parallel.rules import broken, check, shape_of
from llmcost.search.causes import CAUSES, spent
from llmcost.search.plan_training import TrainingQuestion, plan, step_of
from llmcost.search.question import ask
from llmcost.search.space import DEGREES, Choices, space
from llmcost.specs.catalog import load_hardware, load_model
from llmcost.training.options import Options
from llmcost.training.recipe import Recipe
from llmcost.training.shares import shares_for
from llmcost.training.step import training_chip, training_step

H100 = load_hardware("h100-sxm")


def question(model, gpus, batch, *, seq=512, usable=1e15, node=8, **choices):
    chip = training_chip(H100, Recipe(), Layout(dp=gpus, gpus_per_node=node))
    base = Layout(global_batch=batch, gpus_per_node=node)
    return TrainingQuestion(
        load_model(model), H100, gpus, seq, base, usable, chip, shares_for(H100, Recipe()), choices=Choices(**choices)
    )


def divisors(n):
    return [d for d in range(1, n + 1) if n % d == 0]


def every_legal_layout(asked):
    """In a loop, as one would try them by hand with `llmcost train`."""
    shape, gpus = shape_of(asked.model), asked.gpus
    experts = divisors(shape.experts[0]) if shape.experts else [1]
    for tp, cp, pp, ep in product(divisors(gpus), divisors(gpus), divisors(gpus), experts):
        if gpus % (tp * cp * pp):
            continue
        dp = gpus // (tp * cp * pp)
        axes = product(
            divisors(asked.base.global_batch), range(1, shape.layers + 1), asked.choices.zero, asked.choices.recompute
        )
        for micro_batch, vp, zero, recompute in axes:
            degrees = {"tp": tp, "cp": cp, "pp": pp, "dp": dp, "ep": ep}
            layout = asked.base._replace(**degrees, micro_batch=micro_batch, vp=vp, zero=zero, recompute=recompute)
            try:
                check(layout, shape, asked.seq)
            except InputError:
                continue
            if asked.choices.vp is None and -(-shape.layers // (pp * vp)) * vp != -(-shape.layers // pp):
                continue  # chunks of unequal layers are planned only where they are asked for
            if not zero or layout.replicas() > 1 or layout.expert_replicas() > 1:  # else ZeRO has nothing to divide
                yield layout


@pytest.mark.parametrize(
    "asked",
    [
        question("gpt2", 4, 4, usable=2e9),
        question("gpt2", 6, 6),
        question("mixtral-8x7b", 4, 4, recompute=("none",), zero=(0, 1, 3), usable=3e11, vp=(1, 2)),
        question("deepseek-v2-lite", 4, 2, recompute=("full",), zero=(1,), vp=(1, 3)),
    ],
    ids=lambda asked: f"{asked.model.name} on {asked.gpus}",
)
def test_the_best_is_the_best_of_a_loop_over_every_legal_layout(asked):
    steps = [
        step_of(asked, layout)
        for layout in every_legal_layout(asked)
        if asked.choices.vp is None or layout.vp in asked.choices.vp
    ]
    fit = sorted(step.seconds.total for step in steps if step.memory_bytes() <= asked.usable)
    found = plan(asked, top=20)
    assert (found.timed, found.fit) == (len(steps), len(fit))
    assert [each.step_seconds for each in found.best] == pytest.approx(fit[:20])


@pytest.mark.parametrize("model", ["llama3-8b", "mixtral-8x7b"])
def test_figures_are_those_of_the_training_engine_for_the_same_layout(model):
    asked = question(model, 16, 32, seq=2048, usable=70e9)
    for each in plan(asked, top=50).best:
        check(each.layout, shape_of(asked.model), asked.seq)
        assert each.layout.gpus() == asked.gpus
        step = training_step(asked.model, H100, each.layout, asked.recipe, asked.seq)
        assert each.step_seconds == pytest.approx(step.seconds.total)
        assert each.memory_bytes == pytest.approx(step.memory_bytes())


def test_the_parts_of_a_step_add_up_to_it():
    asked = question("mixtral-8x7b", 64, 128, seq=4096)
    for each in plan(asked, top=30).best:
        step = step_of(asked, each.layout)
        assert sum(spent(step.seconds)) == pytest.approx(step.seconds.total)


def test_every_layout_is_accounted_for():
    found = plan(question("llama3-8b", 32, 64, seq=4096, usable=72e9), top=1)
    assert 1 + sum(each.layouts for each in found.lost) == found.fit < found.timed
    assert {each.cause for each in found.lost} <= set(CAUSES)
    assert min(cell.step_seconds for cell in found.grid if cell.step_seconds) == found.best[0].step_seconds
    assert all(cell.missing_bytes > 0 for cell in found.grid if cell.step_seconds is None)


def test_illegal_spreads_are_counted_by_the_rule_they_break():
    """12 heads on 8 GPUs: tp 8 alone does not divide them; all else divides, and 12 layers are enough for 8 stages."""
    asked = question("gpt2", 8, 8)
    ways = space(asked.base, asked.gpus, shape_of(asked.model), asked.seq, asked.choices)
    assert ways.spreads == 20  # ways to share three factors of 2 among tp, cp, pp and dp: 6·5·4/6
    assert [(each.layouts, each.rule) for each in ways.illegal] == [
        (1, "--tp 8 does not divide the 12 attention heads of gpt2; nearest: 6 or 12")
    ]
    assert set(ways.columns) == {*DEGREES, "micro_batch", "vp"}


def test_llama_3_405b_was_trained_near_the_best_of_the_plan():
    """16,384 H100s, 2,048 sequences of 8,192: Meta took tensor 8 and pipeline 16 (arXiv 2407.21783, table 4)."""
    found = plan(question("llama3.1-405b", 16_384, 2048, seq=8192, usable=85e9), top=1)
    (as_trained,) = [cell.step_seconds for cell in found.grid if (cell.tp, cell.pp) == (8, 16)]
    assert as_trained <= 1.1 * found.best[0].step_seconds


@settings(max_examples=20, deadline=None)
@given(
    usable=st.floats(2e9, 8e10), tp=st.sampled_from([(1,), (2,), (1, 2)]), zero=st.sampled_from([(0,), (1, 3), ZERO])
)
def test_fewer_choices_or_less_memory_never_make_a_step_faster(usable, tp, zero):
    free = plan(question("llama3.2-1b", 8, 16, usable=8e10), top=1)
    bound = plan(question("llama3.2-1b", 8, 16, usable=usable, tp=tp, zero=zero), top=1)
    assert bound.fit <= free.fit
    assert not bound.best or bound.best[0].step_seconds >= free.best[0].step_seconds


def test_recomputation_is_chosen_where_memory_is_short_alone():
    roomy, tight = (
        plan(question("llama3-8b", 8, 64, seq=8192, usable=usable, tp=(1,), cp=(1,), pp=(1,)), top=1)
        for usable in (3e12, 6e10)
    )
    assert roomy.best[0].layout.recompute == "none"
    assert tight.best[0].layout.recompute in RECOMPUTE
    assert tight.best[0].step_seconds > roomy.best[0].step_seconds


# -- the command ------------------------------------------------------------------------------------

SMALL = ["plan", "llama3-8b", "--hw", "h100", "--gpus", 16, "--global-batch", 64, "--seq", "4k", "--top", 3]


def test_the_command_shows_the_best_and_why_the_rest_lose(cli, snapshot):
    answer = cli(*SMALL)
    assert answer.code == 0
    snapshot("plan.txt", answer.out)


@pytest.mark.parametrize("tuning", [[], ["--lora-rank", 16, "--qlora"]])
def test_train_says_the_same_of_the_best_layout(cli, tuning):
    best = json.loads(cli(*SMALL, *tuning, "--json").out)["best"][0]
    axes = ("tp", "pp", "vp", "cp", "ep", "dp", "zero", "micro_batch", "recompute")
    held = [word for axis in axes for word in (f"--{axis.replace('_', '-')}", best[axis])]
    run = ["train", "llama3-8b", "--hw", "h100", "--gpus", 16, "--global-batch", 64, "--seq", "4k", *held, *tuning]
    answer = json.loads(cli(*run, "--json").out)
    assert best["step_seconds"] == pytest.approx(answer["step_seconds"])
    assert best["memory_bytes"] == pytest.approx(answer["memory"]["total_bytes"])
    assert best["mfu"] == pytest.approx(answer["mfu"])


def test_the_document_has_the_table(cli):
    document = json.loads(cli(*SMALL, "--json").out)
    assert document["schema"] == "llmcost.plan/1"
    assert len(document["best"]) == 3
    assert document["best"][0]["cause"] is None
    assert document["layouts"]["fit"] <= document["layouts"]["legal"]
    rows = cli(*SMALL, "--csv").out.splitlines()
    assert rows[0].startswith(
        "step_seconds,tokens_per_s_per_gpu,mfu,memory_bytes,tp,pp,vp,cp,ep,dp,zero,micro_batch,recompute"
    )
    assert float(rows[1].split(",")[0]) == document["best"][0]["step_seconds"]


def test_nothing_that_fits_is_an_answer_and_the_exit_code_1(cli):
    answer = cli("plan", "llama3-70b", "--hw", "h100", "--gpus", 8, "--global-batch", 64)
    assert answer.code == 1
    assert "0 of " in answer.out
    assert "Least memory: " in answer.out


def test_a_gpu_whose_network_is_not_known_is_planned_for_inside_a_node():
    gpu = H100._replace(fabric=None)
    terms = (load_model("llama3-8b"), gpu)
    assert plan(ask(*terms, Options(gpus=8, global_batch=64)), top=1).best
    with pytest.raises(InputError, match="no source gives the network between nodes"):
        ask(*terms, Options(gpus=64, global_batch=64))


def test_nothing_legal_is_an_answer_and_the_exit_code_1(cli):
    answer = cli("plan", "gpt2", "--hw", "h100", "--gpus", 11, "--global-batch", 64, "--tp", 11)
    assert answer.code == 1
    assert "--tp 11 does not divide the 12 attention heads of gpt2" in answer.out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--gpus", 0], "--gpus 0: at least 1 and at most"),
        (["--global-batch", 0], "--global-batch 0: at least 1"),
        (["--gpus-per-node", 0], "--gpus-per-node 0: at least 1"),
        (["--seq", 0], "--seq 0: at least 1"),
        (["--memory-utilization", 0], "--memory-utilization 0: a share of 1"),
        (["--tp", "1,x"], "--tp 1,x: expected a number such as 8192, 8k or 15T, got 'x'"),
        (["--micro-batch", "1,"], "--micro-batch 1,: an item of the list is empty"),
        (["--tp", "0"], "--tp 0: at least 1"),
        (["--zero", "4"], "--zero 4: one of 0, 1, 2, 3"),
        (["--recompute", "some"], "--recompute some: one of none, selective, full"),
        (["--optimizer", "adagrad"], "--optimizer adagrad: one of adam"),
        (["--dtype", "fp4"], "--dtype fp4"),
        (["--qlora"], "--qlora: the rank of the adapters is wanted too"),
        (["--lora-rank", 8, "--lora-targets", "wq"], "--lora-targets wq: one of all-linear"),
        (["--top", 0], "--top 0: at least 1"),
        (["--json", "--csv"], "--json and --csv: choose one"),
    ],
)
def test_a_question_that_is_none_is_refused(cli, arguments, message):
    usual = [word for option in ("--gpus", "--global-batch") if option not in arguments for word in (option, 8)]
    answer = cli("plan", "llama3-8b", "--hw", "h100", *usual, *arguments)
    assert answer.code == 2
    assert message in answer.err
    assert answer.out == ""


def test_degrees_that_do_not_multiply_to_the_gpus_are_the_reason(cli):
    answer = cli("plan", "llama3-8b", "--hw", "h100", "--gpus", "8", "--tp", "3")
    assert answer.code == 1
    assert "None of the degrees asked for multiply to 8 GPUs." in answer.out


def test_schedules_of_the_pipeline_are_compared_where_several_are_asked_for():
    """Each pipelined layout stands there once a schedule, those without a pipeline once; the best is that of all."""
    model, hardware = load_model("llama3-8b"), load_hardware("h100")
    held = {"tp": (1,), "cp": (1,), "vp": (1,), "zero": (1,), "recompute": ("full",), "micro_batch": (1,)}
    options = Options(gpus=8, global_batch=64, seq=4096)
    kinds = ("1f1b", "zero-bubble", "dualpipe")
    single = {kind: plan(ask(model, hardware, options, held | {"schedule": (kind,)}), top=99) for kind in kinds}
    every = plan(ask(model, hardware, options, held | {"schedule": kinds}), top=99)
    alone = sum(each.layout.pp == 1 for each in single["1f1b"].best)
    assert every.timed == sum(each.timed for each in single.values()) - 2 * alone
    assert every.best[0].step_seconds == min(each.best[0].step_seconds for each in single.values())
    assert {row["schedule"] for row in every.rows()} == {*kinds}
    assert "schedule" not in single["dualpipe"].columns


def test_schedules_without_chunks_and_halves_are_refused_with_the_nearest_legal_value():
    shape = shape_of(load_model("llama3-8b"))
    interleaved = Layout(pp=4, vp=2, global_batch=8, schedule="zero-bubble")
    assert "--vp 2 interleaves stages, which --schedule zero-bubble does not; nearest: 1" in broken(
        interleaved, shape, 4096
    ).message(interleaved)
    odd = Layout(pp=3, global_batch=9, schedule="dualpipe")
    assert "--pp 3 is odd" in broken(odd, shape, 4096).message(odd)


def test_chosen_stages_are_planned_as_train_times_them():
    """The slowest stage is another one in some layouts than in others; each row has that of its own."""
    model, h100, stages = load_model("llama3-8b"), load_hardware("h100"), (7, 9, 9, 7)
    found = plan(ask(model, h100, Options(gpus=8, global_batch=32, stages=stages), {"zero": (1,)}), 1000)
    assert {each.layout.stages for each in found.best} == {stages}
    assert {(each.layout.pp, each.layout.vp) for each in found.best} == {(4, 1)}
    for each in found.best[::7]:
        step = step_of(found.question, each.layout)
        assert each.step_seconds == pytest.approx(step.seconds.total)
        assert each.memory_bytes == pytest.approx(step.memory_bytes())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--stages", "16+15"), "have 31 layers"),
        (("--stages", "16,16", "--pp", "1,4"), "--pp 1,4: --stages 16,16 are 2"),
        (("--stages", "16,16", "--vp", "20"), "16 layers for 20 chunks"),
        (("--stages", "16,16", "--schedule", "dualpipe"), "leave out --stages"),
        (("--stages", "16,16", "--serve"), "--stages: of training"),
    ],
)
def test_stages_that_cannot_be_planned_are_refused(cli, options, says):
    answer = cli("plan", "llama3-8b", "--hw", "h100", "--gpus", 8, *options)
    assert (answer.code, answer.out) == (2, "")
    assert says in answer.err


def test_a_plan_under_an_engine_has_only_what_that_has(cli):
    asked = ("plan", "llama3-8b", "--hw", "h100", "--gpus", 16, "--global-batch", 32)
    found = json.loads(cli(*asked, "--engine", "llm-foundry", "--top", 1000, "--json").out)["best"]
    assert {(each["tp"], each["pp"], each["cp"]) for each in found} == {(1, 1, 1)}
    assert {each["zero"] for each in found} <= {0, 2, 3}
    for more, says in (
        (("--engine", "llm-foundry", "--tp", "1,2"), "--tp 2: MosaicML LLM Foundry 0.4 has no tensor parallelism"),
        (("--engine", "torchtitan", "--zero", "1,3"), "--zero 1: torchtitan 0.1 has no such stage"),
        (("--engine", "deepspeed", "--stages", "16,16", "--vp", 2), "--vp 2: DeepSpeed"),
    ):
        answer = cli(*asked, *more)
        assert (answer.code, says in answer.err) == (2, True)


def test_ways_to_compute_are_compared_and_the_best_of_each_is_told():
    options = Options(gpus=64, global_batch=256, seq=4096)
    model, ways = load_model("llama3-8b"), {"kernels": ("vendor", "eager"), "overlap": ("tensor=0,data=0", "data=1")}
    found = plan(ask(model, H100, options, programs=ways), 8)
    alone = {
        (kernels, overlap): plan(ask(model, H100, options._replace(kernels=kernels, overlap=overlap)), 1).best[0]
        for kernels, overlap in product(*ways.values())
    }
    assert [each.step_seconds for each in found.programs] == [each.step_seconds for each in alone.values()]
    assert found.best[0].step_seconds == min(each.step_seconds for each in alone.values())
    assert [each.cause for each in found.programs].count(None) == 1
    row = found.rows()[0]
    assert row["kernels"] == "vendor"
    assert row["overlap"].endswith("data=1")


def test_ways_to_compute_are_lists_on_the_command_line_too(cli):
    asked = ["plan", "llama3-8b", "--hw", "h100", "--gpus", 8, "--global-batch", 64]
    several = cli(*asked, "--overlap", "data=0", "--overlap", "data=1,tensor=1", "--json")
    document = json.loads(several.out)
    assert [each["axes"]["overlap"] for each in document["programs"]] == ["data=0", "data=1,tensor=1"]  # as typed
    one = json.loads(cli(*asked, "--overlap", "data=1,tensor=1", "--json").out)
    assert one["best"][0]["step_seconds"] == document["best"][0]["step_seconds"]
    assert "programs" not in one
    twice = cli(*asked, "--overlap", "data=1", "--overlap", "data=1")
    assert (twice.code, twice.err) == (2, "llmcost: --overlap data=1: comes twice\n")
