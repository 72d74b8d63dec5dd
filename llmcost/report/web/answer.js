// The answer in words and numbers: the verdict first, then tables. Every figure leads to its formula.
import { make, said } from "./dom.js";
import { figure } from "./formula.js";
import { about, bytes, count, flops, joules, percent, rate, seconds, significant, whole } from "./units.js";

const at = (document, path) => path.split(".").reduce((value, key) => value?.[key], document);

function number(name, value, path, what) {
  return make(
    "div",
    { class: "number" },
    make("div", { class: "name" }, name),
    make("div", { class: "value" }, figure(path, value)),
    make("div", { class: "soft small" }, what),
  );
}

const known = (words, value, shown) => (value === null || value === undefined ? words.unknown : shown(value));

// Whether a model decodes: an encoder has times of a pass, and none of a step.
export const generates = ({ prefill, decode }) => decode.limited_by !== null || prefill.limited_by === null;

// What a figure is, and how far such figures were from published runs.
const trusted = (what, band, words) =>
  band?.mean_error ? `${what}; ${said(words.off_by, about(band.mean_error)).join("")}` : what;

function speeds(document, words) {
  const { prefill, decode, request, serving, workload, accuracy } = document;
  const rates = (x) => `${rate(x)} ${words.short.token}`;
  if (serving) {
    const e = serving.expected;
    const path = "serving.expected";
    return [
      number(
        words.ttft,
        known(words, e.ttft_seconds, seconds),
        `${path}.ttft_seconds`,
        trusted(words.ttft_what, accuracy.ttft, words),
      ),
      number(
        words.tpot,
        known(words, e.tpot_seconds, seconds),
        `${path}.tpot_seconds`,
        trusted(words.tpot_what, accuracy.tpot, words),
      ),
      number(
        words.output_rate,
        known(words, e.output_tokens_per_s, rates),
        `${path}.output_tokens_per_s`,
        trusted(words.output_rate_what, accuracy.throughput, words),
      ),
      number(
        words.request_rate,
        known(words, e.requests_per_s, (x) => `${rate(x)}/s`),
        `${path}.requests_per_s`,
        e.latency_seconds ? said(words.request_rate_what, seconds(e.latency_seconds)).join("") : "",
      ),
    ];
  }
  const [ttft, path] = request
    ? [request.expected.ttft_seconds, "request.expected.ttft_seconds"]
    : [prefill.expected.seconds, "prefill.expected.seconds"];
  if (!generates(document)) {
    return [
      number(
        words.whole_batch,
        seconds(prefill.expected.seconds),
        "prefill.expected.seconds",
        trusted(words.encoder_what, accuracy.prefill, words),
      ),
      number(
        words.sequences,
        `${rate(prefill.expected.sequences_per_s)}/s`,
        "prefill.expected.sequences_per_s",
        rates(prefill.expected.tokens_per_s),
      ),
    ];
  }
  return [
    number(words.ttft, known(words, ttft, seconds), path, trusted(words.ttft_what, accuracy.prefill, words)),
    number(
      words.tpot,
      known(words, decode.expected.seconds_per_step, seconds),
      "decode.expected.seconds_per_step",
      trusted(words.tpot_what, accuracy.decode, words),
    ),
    number(
      words.decode_rate,
      known(words, decode.expected.tokens_per_s, rates),
      "decode.expected.tokens_per_s",
      workload.batch > 1 ? said(words.rate_what, whole(workload.batch)).join("") : "",
    ),
    number(words.prefill_rate, known(words, prefill.expected.tokens_per_s, rates), "prefill.expected.tokens_per_s", ""),
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

function fit(document, words) {
  const { memory, serving, workload } = document;
  const usable = figure("memory.usable_bytes", bytes(memory.usable_bytes));
  if (serving && serving.max_concurrency !== null) {
    const room = figure("serving.max_concurrency", whole(serving.max_concurrency));
    return said(words.room, figure("memory.weights_bytes", bytes(memory.weights_bytes)), usable, room);
  }
  const at_most = [
    figure("memory.max_batch", whole(memory.max_batch)),
    figure("memory.max_context", whole(memory.max_context ?? workload.context)),
  ];
  return said(words.used_of, figure("memory.used_bytes", bytes(memory.used_bytes)), usable, ...at_most);
}

function misfit(document, words, apply) {
  const { memory, remedies } = document;
  const needed = figure("memory.used_bytes", bytes(memory.used_bytes));
  const ways = (remedies ?? []).map((each) => {
    const button = make("button", { type: "button" }, each.what);
    button.addEventListener("click", () => apply(each.options));
    return button;
  });
  return [
    make("p", {}, said(words.needed_of, needed, bytes(memory.usable_bytes - memory.set_aside_bytes))),
    ways.length ? make("p", { class: "ways" }, words.would_fit, ways) : null,
  ];
}

function binds(document, words) {
  const { prefill, decode, serving } = document;
  const parts = [
    [words.phases.prefill, prefill.limited_by],
    [words.phases.decode, decode.limited_by],
    [words.request_rate, serving ? words.limits[serving.limited_by] : null],
  ];
  const told = parts
    .filter(([, by]) => by)
    .map(([what, by]) => `${what}: ${by}`)
    .join(" · ");
  return make("p", {}, make("strong", {}, words.binds), " ", told || words.unknown);
}

export function showVerdict(box, document, words, typed, notes, apply) {
  const { memory, hardware, model, accuracy, serving, launch, workload } = document;
  const place = hardware ? ` · ${workload.gpus} × ${hardware.title}` : "";
  const under = workload.engine ? ` · ${workload.engine}` : "";
  const children = [make("h2", {}, `${model.title}${place}${under}`)];
  box.className = "";
  if (!hardware) {
    children.push(
      make("p", { class: "status" }, words.no_gpu),
      make("div", { class: "numbers" }, sizes(document, words)),
    );
  } else {
    box.className = memory.fits ? "fits" : "not";
    children.push(make("p", { class: "status" }, memory.fits ? `✓ ${words.fits}` : `✗ ${words.not_fits}`));
    children.push(...(memory.fits ? [make("p", {}, fit(document, words))] : misfit(document, words, apply)));
    children.push(make("div", { class: "numbers" }, speeds(document, words)));
    if (!memory.fits) children.push(make("p", { class: "soft small" }, words.not_fits_speeds));
    children.push(binds(document, words));
    const band = serving ? accuracy.ttft : accuracy.prefill;
    if (band.mean_error) children.push(make("p", { class: "soft small" }, said(words.off_of, band.of)));
  }
  for (const note of notes) children.push(make("p", { class: "soft small" }, note));
  children.push(...line(words.command, typed), ...(launch?.command ? line(words.launch, launch.command) : []));
  box.replaceChildren(...children.filter(Boolean));
}

const line = (what, text) => [make("p", { class: "soft small what" }, what), make("code", { class: "line" }, text)];

function table(title, rows, wide = false, open = true) {
  return make("details", { open, class: wide ? "wide" : null }, make("summary", {}, title), make("table", {}, rows));
}

function lines(document, words, paths, shown) {
  return paths
    .map((path) => [path, at(document, path)])
    .filter(([, value]) => value !== null && value !== undefined)
    .map(([path, value]) =>
      make(
        "tr",
        {},
        make("th", { scope: "row" }, words.figures[path]),
        make("td", { class: "n" }, figure(path, shown(value))),
      ),
    );
}

function times(document, words) {
  const bases = Object.keys(words.bases);
  const head = make(
    "thead",
    {},
    make(
      "tr",
      {},
      make("th"),
      bases.map((basis) => make("th", { class: "n" }, words.bases[basis])),
    ),
  );
  const row = (phase, key, shown) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, words.figures[`${phase}.${key}`]),
      bases.map((basis) =>
        make(
          "td",
          { class: "n" },
          figure(`${phase}.${basis}.${key}`, known(words, document[phase][basis][key], shown)),
        ),
      ),
    );
  const a_second = (x) => `${rate(x)} ${words.short.token}`;
  const decode = [row("decode", "seconds_per_step", seconds), row("decode", "tokens_per_s", a_second)];
  return [
    head,
    row("prefill", "seconds", seconds),
    row("prefill", "tokens_per_s", a_second),
    ...(generates(document) ? decode : []),
  ];
}

function operators(phase, found, words) {
  const names = Object.keys(words.columns);
  const shown = { flops, bytes, seconds, intensity: rate, share: percent, executions: whole };
  const cell = (row, name) =>
    row[name] === null || row[name] === undefined ? "" : shown[name] ? shown[name](row[name]) : row[name];
  const head = make(
    "thead",
    {},
    make(
      "tr",
      {},
      names.map((name, i) => make("th", { class: i ? "n" : null }, words.columns[name])),
    ),
  );
  const rows = found.operators.map((row) =>
    make(
      "tr",
      {},
      names.map((name, i) => make("td", { class: i ? "n" : null, title: i ? null : row.shape }, cell(row, name))),
    ),
  );
  return table(`${words.tables.operators}: ${words.phases[phase]}`, [head, ...rows], true, false);
}

// What a million tokens cost, of each kind of tokens that is priced.
function spent(cost, words) {
  const row = (what, shown, unit) => {
    const values = ["prompt", "output", "both", "input_of_mix", "output_of_mix"].map((of) => {
      const kind = { both: "tokens", input_of_mix: "input_tokens_of_mix", output_of_mix: "output_tokens_of_mix" }[of];
      return [of, cost[`${unit}_per_million_${kind ?? `${of}_tokens`}`]];
    });
    return values
      .filter(([, value]) => value !== null)
      .map(([of, value]) =>
        make(
          "tr",
          {},
          make("th", { scope: "row" }, `${what}, ${words.money[of]}`),
          make("td", { class: "n" }, shown(value)),
        ),
      );
  };
  return [
    row(words.money.dollars, (x) => `$${significant(x)}`, "dollars"),
    row(words.money.joules, joules, "joules"),
  ].flat();
}

export function showTables(box, document, words, answers = {}) {
  const of = (start) =>
    Object.keys(words.figures).filter((path) => path.startsWith(start) && at(document, path) !== undefined);
  const opened = new Set([...box.querySelectorAll("details.wide[open] summary")].map((each) => each.textContent));
  const found = [];
  if (document.hardware) {
    found.push(table(words.tables.times, times(document, words), true));
    found.push(table(words.tables.memory, lines(document, words, of("memory."), bytes)));
    found.push(table(words.tables.traffic, lines(document, words, of("traffic."), bytes)));
    if (document.cost) found.push(table(words.money.title, spent(document.cost, words)));
  }
  found.push(table(words.parts.kv_cache, lines(document, words, of("kv_cache."), bytes)));
  found.push(table(words.tables.params, lines(document, words, of("model.params."), whole)));
  found.push(table(words.tables.flops, lines(document, words, of("flops."), flops)));
  for (const phase of ["prefill", "decode"]) if (answers[phase]) found.push(operators(phase, answers[phase], words));
  box.replaceChildren(...found);
  for (const each of box.querySelectorAll("details.wide"))
    if (opened.has(each.querySelector("summary").textContent)) each.open = true;
}
