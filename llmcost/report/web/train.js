// A training run: step, days, GPU-hours, money; the step by cause and the memory of a GPU.
import { make, said } from "./dom.js";
import { W, box, chart, picture, text } from "./drawing.js";
import { bytes, count, percent, rate, seconds, significant } from "./units.js";

export const OWN = ["tokens", "seq", "global_batch"]; // controls of training alone
const ASKED = [...OWN, "model", "hw", "gpus", "tp", "pp", "dp", "ep", "price", "kwh", "pue"];
const ROW = 24; // of a bar

// What is asked of a run; null where nothing of it is given.
export function trainingOf({ options, file }) {
  if (!OWN.some((name) => options[name]) || !options.hw) return null;
  const kept = Object.entries(options).filter(([name]) => ASKED.includes(name));
  return { ask: "train", options: Object.fromEntries(kept), file };
}

function number(name, value, what) {
  const parts = [make("div", { class: "name" }, name), make("div", { class: "value" }, value)];
  return make("div", { class: "number" }, parts, make("div", { class: "soft small" }, what));
}

function bars(title, rows, shown) {
  const most = Math.max(...rows.map(([, value]) => value));
  const left = 170;
  const drawn = rows.map(([name, value], row) => {
    const y = 6 + row * ROW;
    const width = (value / most) * (W - left - 90);
    return [
      text(left - 8, y + 14, name, { "text-anchor": "end" }),
      box(left, y, width, ROW - 6, 0, `${name}: ${shown(value)}`),
      text(left + width + 6, y + 14, shown(value), { class: "soft" }),
    ];
  });
  return chart(title, picture(title, 12 + rows.length * ROW, drawn.flat()));
}

function causes({ exposed, ...rest }, words) {
  const all = { ...rest, ...exposed };
  return Object.entries(words.causes)
    .map(([name, what]) => [what, all[name]])
    .filter(([, value]) => value > 0);
}

export function showTraining(place, found, words, typed) {
  if (!found || found.error) {
    place.replaceChildren(...(found ? [make("h2", {}, words.train.title), make("p", { class: "wrong" }, found.error)] : []));
    return;
  }
  const [run] = found.documents;
  const { layout: l, memory: m, run: r } = run;
  const share = said(words.train.of, bytes(m.usable_bytes)).join("");
  const memory = m.fits ? share : `✗ ${said(words.train.not_fits, bytes(m.usable_bytes)).join("")}`;
  const numbers = [
    number(words.train.step, seconds(run.step_seconds), said(words.train.steps, count(Math.round(r.steps)), count(r.tokens_per_step)).join("")),
    number(words.train.days, said(words.train.days_value, significant(run.days)).join(""), said(words.train.tokens, rate(run.tokens_per_s_per_gpu)).join("")),
    number(words.train.gpu_hours, count(Math.round(run.gpu_hours)), ""),
    number(words.train.mfu, percent(run.mfu), ""),
    number(words.train.memory, bytes(m.total_bytes), memory),
  ];
  if (run.dollars !== null) numbers.push(number(words.train.dollars, `$${count(Math.round(run.dollars))}`, ""));
  const states = Object.entries(words.states)
    .map(([name, what]) => [what, m[name]])
    .filter(([, value]) => value > 0);
  const layout = said(words.train.layout, l.tp, l.pp, l.cp, l.dp, l.ep, l.zero, l.schedule).join("");
  place.replaceChildren(
    make("h2", {}, `${words.train.title}: ${run.model.title} · ${r.gpus} × ${run.hardware.title}`),
    make("div", { class: "numbers" }, numbers),
    make("p", { class: "soft small" }, layout, found.notes.length ? ` · ${found.notes.join(" · ")}` : ""),
    make("p", { class: "soft small what" }, words.command),
    make("code", { class: "line" }, typed),
    make("div", { class: "charts" }, bars(words.train.causes, causes(run.breakdown, words), seconds), bars(words.train.parts, states, bytes)),
  );
}
