// The page: controls make a question, its documents make the answer, the address keeps the question.
import { answerable, ask, inBrowser, start } from "./ask.js";
import { drawCharts } from "./charts.js";
import { makeControls } from "./controls.js";
import { make } from "./dom.js";
import { layoutsOf, stepsOf } from "./layouts.js";
import { OWN, showTraining, trainingOf } from "./train.js";
import { followFigures } from "./formula.js";
import { generates, showTables, showVerdict } from "./answer.js";

const $ = (id) => document.getElementById(id);
const setup = await (await fetch("setup.json")).json();
const languages = Object.keys(setup.words);
let words = setup.words[languages[0]];
let controls = null;
let asked = 0;
let timer = 0;

function command(question, name = "estimate") {
  const quoted = (text) => (/^[\w.,:×-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  const { model, ...rest } = question.options;
  const flags = Object.entries(rest).map(([name, text]) => `--${name.replaceAll("_", "-")} ${quoted(text)}`);
  return [`llmcost ${name}`, quoted(question.file ? question.file.name : model), ...flags].join(" ");
}

const said = (question) => ({ ...question, lang: words.lang });
const answered = (question) => ask(said(question)).catch(() => ({ error: words.no_answer, control: "" }));

async function show(question) {
  asked += 1;
  const mine = asked;
  const stale = () => mine !== asked;
  $("main").setAttribute("aria-busy", "true");
  await draw(question, stale);
  if (!stale()) $("main").setAttribute("aria-busy", "false");
}

async function draw(question, stale) {
  const asking = { ask: "estimate", ...question };
  await answerable(said(asking));
  if (stale()) return; // of the questions that waited for Python, the last is asked
  const found = await answered(asking);
  if (stale()) return;
  controls.complain(found);
  if (found.error) {
    for (const old of ["charts", "training", "tables"]) $(old).classList.add("stale");
    $("verdict").className = "";
    $("verdict").replaceChildren(make("p", { class: "wrong" }, found.error));
    return;
  }
  for (const now of ["charts", "training", "tables"]) $(now).classList.remove("stale");
  const [document] = found.documents;
  showVerdict($("verdict"), document, words, command(question), found.notes, controls.apply);
  showTables($("tables"), document, words);
  window.document.title = `${document.model.title} · llmcost`;
  if (!document.hardware) {
    for (const each of ["charts", "training"]) $(each).replaceChildren();
    return;
  }
  const answers = { estimate: document };
  for (const phase of generates(document) ? ["prefill", "decode"] : ["prefill"]) {
    const ops = await answered({ ask: "ops", ...question, phase });
    if (stale()) return;
    answers[phase] = ops.documents?.[0];
  }
  drawCharts($("charts"), answers, words);
  showTables($("tables"), document, words, answers);
  const training = trainingOf(question);
  const run = training && (await answered(training));
  if (stale()) return;
  if (run?.error && OWN.includes(run.control)) controls.complain(run);
  showTraining($("training"), run, words, training && command(training, "train"));
  if (question.options.rate || !generates(document)) return;
  const layouts = layoutsOf(document);
  const curves = [];
  let varied = null;
  for (const layout of layouts) {
    const vary = stepsOf(document, layout, layouts.length > 1);
    if (!vary[1].length) continue;
    [varied] = vary;
    const options = { ...question.options, ...(layouts.length > 1 ? asTyped(layout) : {}) };
    const curve = await answered({ ask: "estimate", ...question, options, vary });
    if (stale()) return;
    if (curve.documents) curves.push({ layout, documents: curve.documents });
    drawCharts($("charts"), { ...answers, curves, varied }, words);
  }
}

const asTyped = (degrees) => Object.fromEntries(Object.entries(degrees).map(([name, value]) => [name, String(value)]));

function changed() {
  history.replaceState(null, "", `#${controls.link()}`);
  $("main").setAttribute("aria-busy", "true");
  clearTimeout(timer);
  timer = setTimeout(() => show(controls.question()), 120);
}

// The language of a link; of the browser where it says none.
function languageOf(link) {
  const asked = new URLSearchParams(link).get("lang") ?? navigator.language.slice(0, 2);
  return languages.includes(asked) ? asked : languages[0];
}

// Say everything in a language, and take the state of a link.
function speak(language, link) {
  words = setup.words[language];
  document.documentElement.lang = words.lang;
  $("about").textContent = words.about;
  $("link").textContent = words.link;
  $("language").textContent = words.language;
  $("starting").textContent = words.loading;
  const form = $("controls").cloneNode(false);
  $("controls").replaceWith(form);
  controls = makeControls(form, { ...setup, words }, changed);
  controls.read(link);
}

$("link").addEventListener("click", async () => {
  history.replaceState(null, "", `#${controls.link()}`);
  await navigator.clipboard?.writeText(location.href);
  $("link").textContent = words.link_copied;
  setTimeout(() => {
    $("link").textContent = words.link;
  }, 1500);
});
$("language").addEventListener("click", () => {
  const next = languages[(languages.indexOf(words.lang) + 1) % languages.length];
  const kept = new URLSearchParams(controls.link());
  kept.set("lang", next);
  speak(next, kept.toString());
  changed();
});
const explained = new Map(); // what was asked, and its answer: a formula that is looked at again is there at once
followFigures(
  $("formula"),
  () => words,
  (quantity) => {
    const question = { ask: "explain", ...controls.question(), quantity, lang: words.lang };
    const key = JSON.stringify(question);
    if (!explained.has(key)) explained.set(key, answered(question));
    return explained.get(key);
  },
);
addEventListener("hashchange", () => {
  const link = location.hash.slice(1);
  speak(languageOf(link), link);
  show(controls.question());
});
const first = location.hash.slice(1);
speak(languageOf(first), first);
$("verdict").replaceChildren(make("p", { class: "soft" }, words.waiting));
$("starting").hidden = !inBrowser;
await show(controls.question());
await start();
$("starting").hidden = true;
