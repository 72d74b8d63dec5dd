"""A profile as tables: what was reached, how well it is predicted, and in a line whether that is as it should be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from llmcost.ground.units import scaled, seconds
from llmcost.machine.calibration import step_error, step_operators
from llmcost.report.bench_rows import best, rate, row_bytes, row_flops, rows_table, shape
from llmcost.report.published import PUBLISHED
from llmcost.report.tables import Table
from llmcost.specs.profile import Error, Profile, Row, StepRow

CLOSE = 0.95  # of a published figure: as good
USUAL_GEMM, USUAL_MEMORY = 0.7, 0.85  # shares of the peaks that GPUs without a published figure should reach
KINDS = {
    "gemm": "matrix product", "grouped_gemm": "experts", "attention_prefill": "attention, prompt",
    "attention_decode": "attention, decode", "elementwise": "streaming", "norm": "norms",
}  # fmt: skip


def bench_tables(profile: Profile, *, rows: bool = False) -> list[Table]:
    """The page of `llmcost bench`; `rows` adds every row."""
    tables = [_machine(profile), _reached(profile), _launch(profile), _fits(profile), _steps(profile)]
    if rows:
        tables.append(rows_table(profile))
    tables.append(Table("", ("",), "l", (), (*_rules(profile), *_troubles(profile), verdict(profile))))
    return [table for table in tables if table.rows or table.notes]


def _machine(p: Profile) -> Table:
    device, state, environment = p.device, p.state, p.environment
    limit = f", power limit {device['power_limit_w']:.0f} W" if "power_limit_w" in device else ""
    driver = [f"driver {device['driver']}"] if "driver" in device else []
    libraries = [
        f"{name} {environment[name]}"
        for name in ("torch", "cuda", "triton", "flash_attn", "flashinfer")
        if environment.get(name)
    ]
    middle = [
        f"{state[key]:,} {unit}" for key, unit in (("sm_mhz", "MHz"), ("watts", "W"), ("temp_c", "°C")) if key in state
    ]
    found = [
        ("Device", f"{device['name']}, {device['arch']}{limit}"),
        ("Software", ", ".join([*libraries, *driver])),
        (
            "Measured",
            f"{p.created}, {p.scope}, {state.get('seconds', 0):.0f} s, {len(p.rows):,} kernels, {len(p.steps):,} passes",
        ),
        ("Peaks", p.peaks["source"]),
    ]
    if middle:
        found.append(("At the median", ", ".join(middle)))
    return Table(f"Profile {p.name}" + ("" if p.complete else ", interrupted"), ("", ""), "ll", found)


def _reached(p: Profile) -> Table:
    found = []
    for dtype in dict.fromkeys(row.dtype for row in p.rows if row.suite == "gemm"):
        found += [
            _line(p, f"GEMM {dtype}, with pauses", partial(_is, suite="ceiling", dtype=dtype), dtype),
            _line(p, f"GEMM {dtype}, without a break", partial(_is, suite="gemm", dtype=dtype)),
        ]
    found += [
        _line(p, "attention, prompt", partial(_is, suite="prefill")),
        _line(p, "attention, prompt, backward", partial(_is, suite="prefill", backward=True)),
        _line(p, "attention, decode", partial(_is, suite="decode"), "", "bandwidth"),
    ]
    found += [
        _line(p, f"memory, {name}", partial(_is, suite="memory", name=name), "memory")
        for name in ("read", "write", "copy", "triad")
    ]
    for name in dict.fromkeys(row.name for row in p.rows if row.suite == "collectives"):
        found.append(_line(p, f"{name}, bus bandwidth", partial(_is, suite="collectives", name=name), "", "link"))
    columns = ("reached, at best", "rate", "of peak", "published", "kernel", "at")
    return Table("", columns, "lrrrll", [line for line in found if line])


def _is(row: Row, *, suite: str, dtype: str | None = None, name: str | None = None, backward: bool = False) -> bool:
    return row.suite == suite and dtype in (None, row.dtype) and name in (None, row.name) and row.backward == backward


def _line(
    p: Profile, title: str, wanted: Callable[[Row], bool], published: str = "", against: str = ""
) -> tuple[str, ...] | None:
    """The best of some rows; against a data type's peak, or in bytes a second against the bandwidth (of a link: none known)."""
    bytes_ = published == "memory" or bool(against)
    amount, unit = (row_bytes, "B/s") if bytes_ else (row_flops, "FLOPS")
    row = best(p, wanted, amount)
    if row is None:
        return None
    peak = None if against == "link" else p.peaks["bytes_per_s"] if bytes_ else p.peaks["flops_per_s"].get(row.dtype)
    reached, known = rate(amount(row), row), PUBLISHED.get(p.hardware or "", {}).get(published)
    return (
        title,
        scaled(reached, unit),
        _share(reached, peak),
        scaled(known.rate, unit) if known else "",
        row.way,
        shape(row),
    )


def _share(reached: float, peak: float | None) -> str:
    return f"{reached / peak:.1%}" if peak else ""


def _launch(p: Profile) -> Table:
    rows = [row for row in p.rows if row.suite == "launch" and row.median_us]
    return Table(
        "", ("launching an empty kernel", ""), "lr", [(row.name, seconds((row.median_us or 0) / 1e6)) for row in rows]
    )


def _fits(p: Profile) -> Table:
    found = []
    for kind, by_type in p.fit.items():
        for dtype, fit in by_type.items():
            half = f" (half at {fit.half:,.0f} tokens)" if fit.half else ""
            compute = f"{fit.compute:.1%}{half}" if kind not in ("elementwise", "norm") else ""
            overlap = f"{fit.overlap:.2f}" if fit.overlap != 2 else ""
            errors = (_error(fit.fitted), _error(fit.heldout))
            found.append(
                (f"{KINDS[kind]}, {dtype}", compute, f"{fit.memory:.1%}", overlap, f"{fit.launch_us:.2f} µs", *errors)
            )
    columns = (
        "fitted, of the peaks",
        "compute",
        "memory",
        "overlap",
        "launch",
        "error on its own",
        "on shapes held out",
    )
    notes = (
        "Errors are mean and worst of |predicted / measured − 1|, and of how many; overlap is the exponent p, where it is not 2.",
    )
    return Table("", columns, "lrrrrll", found, notes if found else ())


def _error(error: Error | None) -> str:
    return "" if error is None else f"{error.mean:.1%}, worst {error.worst:.0%}, of {error.points}"


def _steps(p: Profile) -> Table:
    found = []
    for step in p.steps:
        size = (step.model, step.phase, f"{step.batch:,}", f"{step.tokens:,}")
        if step.median_us is None:
            found.append((*size, step.status, "", "", "", step.reason[:60]))
            continue
        layers = "" if step.layers == step.of_layers else f"{step.layers} of {step.of_layers} layers"
        off = (_off(step.operators_us, step), _off(step.predicted_us, step))
        found.append((*size, seconds(step.median_us / 1e6), *off, _use(p, step), layers))
    columns = ("whole passes", "", "batch", "tokens", "measured", "its kernels", "the fit", "of peak", "")
    return Table("", columns, "llrrrrrrl", found, tuple(_step_notes(p)))


def _step_notes(p: Profile) -> Iterable[str]:
    for phase in dict.fromkeys(step.phase for step in p.steps):
        timed = [step for step in p.steps if step.phase == phase and step.median_us]
        sums = [abs((step.operators_us or 0) / (step.median_us or 1) - 1) for step in timed]
        if sums:
            fit = step_error(p.steps, phase)
            ours = f"; the fit, which never saw these models, {fit.mean:.1%} (worst {fit.worst:.1%})" if fit else ""
            mean = sum(sums) / len(sums)
            yield f"{phase}: the sum of its kernels is off by {mean:.1%} (worst {max(sums):.1%}) over {len(sums)} passes{ours}"


def _off(predicted: float | None, step: StepRow) -> str:
    return f"{predicted / step.median_us - 1:+.1%}" if predicted and step.median_us else ""


def _use(p: Profile, step: StepRow) -> str:
    """Share of the peak that a pass uses: of the bandwidth for decode, of the FLOPS else."""
    if step.phase == "decode":
        moved = sum(op.count * (op.weight_bytes() + op.cache_bytes()) for op in step_operators(step))
        return _share(rate(float(moved), step), p.peaks["bytes_per_s"])
    return _share(rate(step_flops(step), step), p.peaks["flops_per_s"].get(step.dtype))


def step_flops(step: StepRow) -> float:
    """FLOPs of a pass, causal pairs only; training is three forward passes."""
    forward = sum(op.count * op.flops(causal=True) for op in step_operators(step))
    return float(forward) * (3 if step.phase == "train" else 1)


def _rules(p: Profile) -> Iterable[str]:
    """The slides' two rules against what was measured."""
    peak = p.peaks["flops_per_s"].get("bf16")
    if p.hardware is None or not peak:
        return
    gemm = best(p, lambda row: row.suite in ("gemm", "ceiling") and row.dtype == "bf16", row_flops)
    if gemm is not None:
        share = rate(row_flops(gemm), gemm) / peak
        yield f"Rule «GEMM reaches about 90 % of peak»: at best {share:.0%} here, {gemm.way}, {shape(gemm)}."
    passes = [step for step in p.steps if step.phase != "decode" and step.median_us and step.dtype == "bf16"]
    if passes:
        shares = [rate(step_flops(step), step) / peak for step in passes]
        yield f"Rule «end to end about 50 %»: prompts and training reach {min(shares):.0%} to {max(shares):.0%} here."


def _troubles(p: Profile) -> Iterable[str]:
    bad = [row for row in p.measured() if row.status != "ok"]
    if bad:
        counts = {row.status: sum(other.status == row.status for other in bad) for row in bad}
        words = ", ".join(f"{number} {status}" for status, number in counts.items())
        yield f"Not timed or not clean: {words}; the first because: {bad[0].reason or ', '.join(bad[0].slowdown)}"


def verdict(p: Profile) -> str:
    """Whether the GPU is as fast as it should be, in a line, and if not, what is likely."""
    if p.hardware is None:
        return "No data sheet is known for this device: shares are of the best measured here (--hw names a spec)."
    gemm = best(p, lambda row: row.suite in ("gemm", "ceiling") and row.dtype == "bf16", row_flops)
    memory = best(
        p, lambda row: row.suite == "memory" and row.name in ("copy", "triad"), row_bytes
    )  # as published ones
    parts, slow = [], False
    for name, key, row, amount, peak, usual in (
        ("bf16 GEMM", "bf16", gemm, row_flops, p.peaks["flops_per_s"].get("bf16"), USUAL_GEMM),
        ("memory", "memory", memory, row_bytes, p.peaks["bytes_per_s"], USUAL_MEMORY),
    ):
        if row is not None and peak:
            share, known = rate(amount(row), row) / peak, PUBLISHED.get(p.hardware, {}).get(key)
            wanted = known.rate / peak if known else usual
            slow = slow or share < wanted * (CLOSE if known else 1)
            parts.append(f"{name} at {share:.0%} of peak ({'others' if known else 'usual'} {wanted:.0%})")
    if not parts:
        return "Neither GEMM nor memory was measured: whether the GPU is as fast as it should be is not known."
    if not slow:
        return f"As fast as it should be: {', '.join(parts)}."
    return f"Slower than it should be: {', '.join(parts)}; likely {'; '.join(_causes(p))}."


def _causes(p: Profile) -> list[str]:
    device, state = p.device, p.state
    found = [state["contended"]] if state["contended"] else []
    found += state["slowdown"]
    if device.get("power_limit_w", 0) < device.get("default_power_limit_w", 0):
        found.append(
            f"a power limit of {device['power_limit_w']:.0f} W instead of {device['default_power_limit_w']:.0f} W"
        )
    if state.get("sm_mhz") and state["sm_mhz"] < 0.75 * device.get("max_sm_mhz", 0):
        found.append(f"clocks at {state['sm_mhz']:,} of {device['max_sm_mhz']:,} MHz")
    if not p.environment.get("triton"):
        found.append("no Triton installed")
    return found or ["a driver or torch of another age than those of the published figures"]
