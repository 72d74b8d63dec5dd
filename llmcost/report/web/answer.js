// The answer in words and numbers: the verdict first, then tables. Every figure leads to its formula.
import { make, said } from "./dom.js";
import { figure } from "./formula.js";
import { bytes, count, flops, percent, rate, seconds, whole } from "./units.js";

const at = (document, path) => path.split(".").reduce((value, key) => value?.[key], document);

function number(name, value, path, what) {
  return make("div", { class: "number" }, make("div", { class: "name" }, name),
    make("div", { class: "value" }, figure(path, value)), make("div", { class: "soft small" }, what));
}

function speeds(document, words) {
  const { prefill, decode, request, serving, workload } = document;
  if (serving) {
    const e = serving.expected;
    return [
      e.ttft_seconds !== undefined && e.ttft_seconds !== null ? number(words.ttft, seconds(e.ttft_seconds), "serving.expected.ttft_seconds", words.ttft_what) : null,
      e.tpot_seconds !== undefined && e.tpot_seconds !== null ? number(words.tpot, seconds(e.tpot_seconds), "serving.expected.tpot_seconds", words.tpot_what) : null,
      number(words.output_rate, `${rate(e.output_tokens_per_s)} ${words.short.token}`, "serving.expected.output_tokens_per_s", words.output_rate_what),
      number(words.request_rate, `${rate(e.requests_per_s)}/s`, "serving.expected.requests_per_s",
        e.latency_seconds ? said(words.request_rate_what, seconds(e.latency_seconds)).join("") : ""),
    ];
  }
  const [ttft, path] = request
    ? [request.expected.ttft_seconds, "request.expected.ttft_seconds"]
    : [prefill.expected.seconds, "prefill.expected.seconds"];
  return [
    number(words.ttft, seconds(ttft), path, words.ttft_what),
    number(words.tpot, seconds(decode.expected.seconds_per_step), "decode.expected.seconds_per_step", words.tpot_what),
    number(words.decode_rate, `${rate(decode.expected.tokens_per_s)} ${words.short.token}`, "decode.expected.tokens_per_s",
      said(words.rate_what, whole(workload.batch)).join("")),
    number(words.prefill_rate, `${rate(prefill.expected.tokens_per_s)} ${words.short.token}`, "prefill.expected.tokens_per_s", ""),
  ];
}

function sizes(document, words) {
  const { params } = document.model;
  const more = params.active === params.total ? "" : said(words.params_what, count(params.active)).join("");
  return [
    number(words.tables.params, count(params.total), "model.params.total", more),
    number(words.parts.kv_cache, bytes(document.kv_cache.bytes_per_token), "kv_cache.bytes_per_token", words.kv_what),
    number(words.tables.flops, flops(document.flops.per_token.total), "flops.per_token.total", words.flops_what),
  ];
}

export function showVerdict(box, document, words, typed, notes) {
  const { memory, hardware, model, decode, prefill, serving } = document;
  const children = [make("h2", {}, hardware ? `${model.title} · ${document.workload.gpus} × ${hardware.title}` : model.title)];
  box.className = "";
  if (!hardware) {
    children.push(make("p", { class: "status" }, words.no_gpu), make("div", { class: "numbers" }, sizes(document, words)));
  } else {
    box.className = memory.fits ? "fits" : "not";
    const used = figure("memory.used_bytes", bytes(memory.used_bytes));
    const usable = bytes(memory.usable_bytes - (memory.fits ? 0 : memory.set_aside_bytes));
    children.push(make("p", { class: "status" }, memory.fits ? `✓ ${words.fits}` : `✗ ${words.not_fits}`));
    children.push(make("p", {}, said(memory.fits ? words.used_of : words.needed_of, used, usable)));
    if (!memory.fits) children.push(make("p", { class: "soft" }, words.not_fits_speeds));
    if (memory.fits && serving?.running) {
      children.push(make("p", {}, said(words.running, rate(serving.running), whole(serving.max_concurrency))));
    } else if (memory.fits && memory.max_batch !== null) {
      children.push(make("p", {}, said(words.most, figure("memory.max_batch", whole(memory.max_batch)), whole(memory.max_context ?? 0))));
    }
    children.push(make("div", { class: "numbers" }, speeds(document, words).filter(Boolean)));
    children.push(make("p", {}, make("strong", {}, words.binds), " ", said(words.binds_what, prefill.limited_by, decode.limited_by)));
    const { error, basis } = decode.expected;
    if (error) children.push(make("p", { class: "soft small" }, said(words.off_by, percent(error), basis)));
  }
  for (const note of notes) children.push(make("p", { class: "soft small" }, note));
  children.push(make("code", { class: "line", title: words.command }, typed));
  box.replaceChildren(...children);
}

function table(title, rows, wide = false, open = true) {
  return make("details", { open, class: wide ? "wide" : null }, make("summary", {}, title), make("table", {}, rows));
}

function lines(document, words, paths, shown) {
  return paths.map((path) => [path, at(document, path)]).filter(([, value]) => value !== null && value !== undefined)
    .map(([path, value]) => make("tr", {}, make("th", { scope: "row" }, words.figures[path]), make("td", { class: "n" }, figure(path, shown(value)))));
}

function times(document, words) {
  const bases = Object.keys(words.bases);
  const head = make("thead", {}, make("tr", {}, make("th"), bases.map((basis) => make("th", { class: "n" }, words.bases[basis]))));
  const row = (phase, key, shown) => make("tr", {}, make("th", { scope: "row" }, words.figures[`${phase}.${key}`]),
    bases.map((basis) => make("td", { class: "n" }, document[phase][basis] ? figure(`${phase}.${basis}.${key}`, shown(document[phase][basis][key])) : "")));
  const a_second = (x) => `${rate(x)} ${words.short.token}`;
  return [head, row("prefill", "seconds", seconds), row("prefill", "tokens_per_s", a_second),
    row("decode", "seconds_per_step", seconds), row("decode", "tokens_per_s", a_second)];
}

function operators(phase, found, words) {
  const names = Object.keys(words.columns);
  const shown = { flops, bytes, seconds, intensity: rate, share: percent, executions: whole };
  const cell = (row, name) => (row[name] === null || row[name] === undefined ? "" : shown[name] ? shown[name](row[name]) : row[name]);
  const head = make("thead", {}, make("tr", {}, names.map((name, i) => make("th", { class: i ? "n" : null }, words.columns[name]))));
  const rows = found.operators.map((row) => make("tr", {}, names.map((name, i) => make("td", { class: i ? "n" : null, title: i ? null : row.shape }, cell(row, name)))));
  return table(`${words.tables.operators}: ${words.phases[phase]}`, [head, ...rows], true, false);
}

export function showTables(box, document, words, answers = {}) {
  const of = (start) => Object.keys(words.figures).filter((path) => path.startsWith(start) && at(document, path) !== undefined);
  const opened = new Set([...box.querySelectorAll("details.wide[open] summary")].map((each) => each.textContent));
  const found = [];
  if (document.hardware) {
    found.push(table(words.tables.times, times(document, words), true));
    found.push(table(words.tables.memory, lines(document, words, of("memory."), bytes)));
    found.push(table(words.tables.traffic, lines(document, words, of("traffic."), bytes)));
  }
  found.push(table(words.tables.params, lines(document, words, of("model.params."), whole)));
  found.push(table(words.tables.flops, lines(document, words, of("flops."), flops)));
  for (const phase of ["prefill", "decode"]) if (answers[phase]) found.push(operators(phase, answers[phase], words));
  box.replaceChildren(...found);
  for (const each of box.querySelectorAll("details.wide")) if (opened.has(each.querySelector("summary").textContent)) each.open = true;
}
