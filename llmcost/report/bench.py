"""A profile as tables: what was reached, how well it is predicted, and in a line whether the GPU is as it should be."""

from __future__ import annotations

from collections.abc import Iterable

from llmcost.bench.summary import PhaseErrors, Summary
from llmcost.ground.units import scaled, seconds
from llmcost.report.bench_rows import rows_table, shape
from llmcost.report.page import assumptions, source_table
from llmcost.report.tables import Table
from llmcost.specs.profile import Error, Profile

KINDS = {
    "gemm": "matrix product", "grouped_gemm": "experts", "attention_prefill": "attention, prompt",
    "attention_decode": "attention, decode",
    "elementwise": "elementwise", "norm": "norms", "node": "collectives",
}  # fmt: skip


def bench_tables(found: Summary, *, rows: bool = False) -> list[Table]:
    """The tables of the page of `llmcost bench`; `rows` adds a table of every row."""
    profile = found.profile
    tables = [_machine(profile), _reached(found), _launch(profile), _fits(profile), _passes(found)]
    if rows:
        tables.append(rows_table(found.rows))
    tables.append(Table("", ("",), "l", (), (*_rules(found), *_troubles(profile), verdict(found))))
    return [table for table in tables if table.rows or table.notes]


def bench_sections(found: Summary) -> list[Table]:
    """What the report has behind its tables: how it was measured, how far off sums and fits are, and sources."""
    p = found.profile
    setting = {"scope": p.scope, "complete": p.complete} | p.device | p.environment | p.state
    errors = [(each.phase, _error(each.kernels), _error(each.predicted)) for each in found.phases]
    errors += [
        (f"{KINDS.get(kind, kind)}, {dtype}", _error(fit.fitted), _error(fit.heldout))
        for kind, by_type in p.fit.items()
        for dtype, fit in by_type.items()
    ]
    published = [(each.what, "published rate", each.published.source) for each in found.reached if each.published]
    return [
        assumptions({name: value for name, value in setting.items() if not isinstance(value, dict | list)}),
        Table(
            "How far off such figures have been",
            ("of", "measured kernels", "the fit, of what it never saw"),
            "lll",
            errors,
            ("Mean and worst of |predicted / measured − 1|, and of how many.",) if errors else ("No pass was timed.",),
        ),
        source_table([("peaks", "data sheet or measurement", p.peaks["source"]), *dict.fromkeys(published)]),
    ]


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
    amount = f"{state.get('seconds', 0):.0f} s, {len(p.rows):,} kernels, {len(p.steps):,} passes"
    found = [
        ("Device", f"{device['name']}, {device['arch']}{limit}"),
        ("Software", ", ".join([*libraries, *driver])),
        ("Measured", f"{p.created}, {p.scope}, {amount}"),
        ("Peaks", p.peaks["source"]),
    ]
    if middle:
        found.append(("At the median", ", ".join(middle)))
    return Table(f"Profile {p.name}" + ("" if p.complete else ", interrupted"), ("", ""), "ll", found)


def _reached(found: Summary) -> Table:
    rows = [
        (
            each.what,
            scaled(each.rate, each.unit),
            _share(each.share),
            scaled(each.published.rate, each.unit) if each.published else "",
            each.best.row.way,
            shape(each.best),
        )
        for each in found.reached
    ]
    return Table("", ("reached, at best", "rate", "of peak", "published", "kernel", "at"), "lrrrll", rows)


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _launch(p: Profile) -> Table:
    timed = [row for row in p.rows if row.suite == "launch" and row.median_us]
    rows = [(row.name, seconds((row.median_us or 0) / 1e6)) for row in timed]
    return Table("", ("launching an empty kernel", ""), "lr", rows)


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
    note = (
        "Errors are mean and worst of |predicted / measured − 1|, and of how many; "
        "overlap is the exponent p, where it is not 2."
    )
    return Table("", columns, "lrrrrll", found, (note,) if found else ())


def _error(error: Error | None) -> str:
    return "" if error is None else f"{error.mean:.1%}, worst {error.worst:.0%}, of {error.points}"


def _passes(summary: Summary) -> Table:
    found: list[tuple[str, ...]] = []
    held = any(each.step.heldout for each in summary.passes)
    for each in summary.passes:
        step = each.step
        model = step.model if step.tp == 1 else f"{step.model}, tp {step.tp}"
        if held and not step.heldout:
            model = f"{model} (fitted)"
        size = (model, step.phase, f"{step.batch:,}", f"{step.tokens:,}")
        if step.median_us is None:
            found.append((*size, step.status, "", "", "", step.reason[:60]))
            continue
        layers = "" if step.layers == step.of_layers else f"{step.layers} of {step.of_layers} layers"
        off = ("" if share is None else f"{share:+.1%}" for share in (each.kernels_off, each.predicted_off))
        found.append((*size, seconds(step.median_us / 1e6), *off, _share(each.share), layers))
    columns = ("whole passes", "", "batch", "tokens", "measured", "its kernels", "the fit", "of peak", "")
    return Table("", columns, "llrrrrrrl", found, tuple(map(_errors_of, summary.phases)))


def _errors_of(each: PhaseErrors) -> str:
    kernels, fit = each.kernels, each.predicted
    ours = f"; the fit, which never saw these models, {fit.mean:.1%} (worst {fit.worst:.1%})" if fit else ""
    many = "1 pass" if kernels.points == 1 else f"{kernels.points} passes"
    off = f"off by {kernels.mean:.1%} (worst {kernels.worst:.1%}) over {many}"
    where = each.phase if each.tp == 1 else f"{each.phase} on {each.tp} GPUs"
    return f"{where}: the sum of its kernels is {off}{ours}"


def _rules(found: Summary) -> Iterable[str]:
    """The slides' two rules beside what was measured, a line each."""
    gemm = found.gemm
    if gemm is not None:
        best = f"{gemm.best.row.way}, {shape(gemm.best)}"
        yield f"Rule «GEMM reaches about 90 % of peak»: at best {gemm.share:.0%} here, {best}."
    if found.shares:
        reached = f"{min(found.shares):.0%} to {max(found.shares):.0%}"
        yield f"Rule «end to end about 50 %»: prompts and training reach {reached} here."


def _troubles(p: Profile) -> Iterable[str]:
    """A line on rows that were not timed, or while a fault held the GPU back."""
    bad = [row for row in p.measured() if row.status != "ok"]
    if bad:
        counts = {row.status: sum(other.status == row.status for other in bad) for row in bad}
        words = ", ".join(f"{number} {status}" for status, number in counts.items())
        yield f"Not timed or not clean: {words}; the first because: {bad[0].reason or ', '.join(bad[0].slowdown)}"


def verdict(found: Summary) -> str:
    """A line on whether the GPU is as fast as it should be, and if it is not, on what is likely to blame."""
    if found.profile.hardware is None:
        return "No data sheet is known for this device: shares are of the best measured here (--hw names a spec)."
    if not found.verdict:
        return "Neither GEMM nor memory was measured: whether the GPU is as fast as it should be is not known."
    parts = ", ".join(
        f"{each.what} at {each.share:.0%} of peak ({'others' if each.published else 'usual'} {each.wanted:.0%})"
        for each in found.verdict
    )
    if not found.causes:
        return f"As fast as it should be: {parts}."
    return f"Slower than it should be: {parts}; likely {'; '.join(found.causes)}."
