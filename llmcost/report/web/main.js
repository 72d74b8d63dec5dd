// The page: controls make a question, its documents make the answer, the address keeps the question.
import { ask, inBrowser } from "./ask.js";
import { drawCharts } from "./charts.js";
import { makeControls } from "./controls.js";
import { make } from "./dom.js";
import { followFigures } from "./formula.js";
import { generates, showTables, showVerdict } from "./answer.js";

const $ = (id) => document.getElementById(id);
const setup = await (await fetch("setup.json")).json();
const { words } = setup;
const STEPS = 24; // points of the curve, at most
let asked = 0;
let timer = 0;

function command(question) {
  const quoted = (text) => (/^[\w.,:×-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  const { model, ...rest } = question.options;
  const flags = Object.entries(rest).map(([name, text]) => `--${name.replaceAll("_", "-")} ${quoted(text)}`);
  return ["llmcost estimate", quoted(question.file ? question.file.name : model), ...flags].join(" ");
}

// What the curve of throughput against speed is asked at: powers of two, up to what fits.
function steps(document) {
  const mix = document.workload.concurrency !== null;
  const most = mix ? document.serving?.max_concurrency : document.memory.max_batch;
  const values = [];
  for (let each = document.workload.dp; each <= (most ?? 256) && values.length < STEPS; each *= 2)
    values.push(String(each));
  return [mix ? "concurrency" : "batch", values];
}

const answered = (question) => ask(question).catch(() => ({ error: words.no_answer, control: "" }));

async function show(question) {
  asked += 1;
  const mine = asked;
  const stale = () => mine !== asked;
  $("main").setAttribute("aria-busy", "true");
  await draw(question, stale);
  if (!stale()) $("main").setAttribute("aria-busy", "false");
}

async function draw(question, stale) {
  const found = await answered({ ask: "estimate", ...question });
  if (stale()) return;
  controls.complain(found);
  if (found.error) {
    for (const old of ["charts", "tables"]) $(old).classList.add("stale");
    $("verdict").className = "";
    $("verdict").replaceChildren(make("p", { class: "wrong" }, found.error));
    return;
  }
  for (const now of ["charts", "tables"]) $(now).classList.remove("stale");
  const [document] = found.documents;
  showVerdict($("verdict"), document, words, command(question), found.notes, controls.apply);
  showTables($("tables"), document, words);
  window.document.title = `${document.model.title} · llmcost`;
  if (!document.hardware) {
    $("charts").replaceChildren();
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
  const vary = steps(document);
  if (!vary[1].length || question.options.rate || !generates(document)) return;
  const curve = await answered({ ask: "estimate", ...question, vary });
  if (stale() || !curve.documents) return;
  drawCharts($("charts"), { ...answers, curve: curve.documents, varied: vary[0] }, words);
}

function changed() {
  history.replaceState(null, "", `#${controls.link()}`);
  $("main").setAttribute("aria-busy", "true");
  clearTimeout(timer);
  timer = setTimeout(() => show(controls.question()), 120);
}

document.documentElement.lang = words.lang;
$("about").textContent = words.about;
$("link").textContent = words.link;
$("link").addEventListener("click", async () => {
  history.replaceState(null, "", `#${controls.link()}`);
  await navigator.clipboard?.writeText(location.href);
  $("link").textContent = words.link_copied;
  setTimeout(() => {
    $("link").textContent = words.link;
  }, 1500);
});
const controls = makeControls($("controls"), setup, changed);
controls.read(location.hash.slice(1));
const explained = new Map(); // what was asked, and its answer: a formula that is looked at again is there at once
followFigures($("formula"), words, (quantity) => {
  const question = { ask: "explain", ...controls.question(), quantity };
  const key = JSON.stringify(question);
  if (!explained.has(key)) explained.set(key, answered(question));
  return explained.get(key);
});
addEventListener("hashchange", () => {
  controls.read(location.hash.slice(1));
  show(controls.question());
});
$("verdict").replaceChildren(make("p", { class: "soft" }, inBrowser ? words.loading : words.waiting));
show(controls.question());
