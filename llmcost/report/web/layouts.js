// Throughput and money along the load, a line for each way to lay the GPUs out, and the front of all of them.
import { draw, said } from "./dom.js";
import { H, PAD, W, chart, frame, linear, picture, text, titled } from "./drawing.js";
import { rate } from "./units.js";

const STEPS = 24; // points of a curve, at most
const FEW = 6; // where there are several
const MOST = 256; // sequences of a rank, where nothing says what fits
const HERE = 1; // colour of the answer itself
const COLORS = [0, 2, 3, 4, 5, 6, 7];
const FAR = { x: 90, y: 14 }; // between names

// The degrees that GPUs can be laid out in without pipeline stages; the answer's own layout where they have some.
export function layoutsOf({ workload: w }) {
  const own = { tp: w.tp, dp: w.dp };
  if (w.pp > 1 || w.ep > 1) return [own];
  const degrees = Array.from({ length: w.gpus }, (_, i) => i + 1).filter((tp) => w.gpus % tp === 0);
  return degrees.map((tp) => ({ tp, dp: w.gpus / tp }));
}

// What the curve of a layout is asked at: powers of two, of its own up to what fits.
export function stepsOf(document, { tp, dp }, several) {
  const w = document.workload;
  const mix = w.concurrency !== null;
  const own = tp === w.tp && dp === w.dp;
  const fitting = mix ? document.serving?.max_concurrency : document.memory.max_batch;
  const most = (own ? fitting : null) ?? MOST * dp;
  const load = mix ? w.concurrency : w.batch;
  const values = several && load % dp === 0 ? [load] : []; // where the answer itself stands, on every line
  for (let each = dp; each <= most && values.length < (several ? FEW : STEPS); each *= several ? 4 : 2)
    if (!values.includes(each)) values.push(each);
  return [mix ? "concurrency" : "batch", values.sort((one, other) => one - other).map(String)];
}

function point(each, varied) {
  const e = each.serving?.expected;
  const mix = varied === "concurrency" && e?.tpot_seconds;
  return {
    user: mix ? 1 / e.tpot_seconds : each.decode.expected.tokens_per_s_per_user,
    gpu: mix ? e.output_tokens_per_s_per_gpu : each.decode.expected.tokens_per_s_per_gpu,
    at: mix ? each.workload.concurrency : each.workload.batch,
    dollars: each.cost?.dollars_per_million_output_tokens ?? null,
  };
}

const fits = (each) => each.memory.fits && each.workload.concurrency <= (each.serving?.max_concurrency ?? Infinity);

// The lines of layouts that have points, and the answer's own point.
function lines({ curves, varied, estimate }) {
  const found = (curves ?? []).map(({ layout, documents }) => ({
    layout,
    points: documents
      .filter(fits)
      .map((each) => point(each, varied))
      .filter((p) => p.user > 0 && p.gpu > 0),
  }));
  return [found.filter((each) => each.points.length > 1), point(estimate, varied)];
}

// Points that no other beats: by what a user gets, and by `other`, of which more is better.
export function frontOf(points, other) {
  const beats = (p, q) => p.user >= q.user && other(p) >= other(q) && (p.user > q.user || other(p) > other(q));
  return points.filter((q) => !points.some((p) => beats(p, q))).sort((p, q) => p.user - q.user);
}

function drawn(title, [found, here], names, value, better, words, varied) {
  const every = found.flatMap(({ layout, points }) => points.map((p) => ({ ...p, layout })));
  if (every.length < 2) return null;
  const x = linear(
    [...every, here].map((p) => p.user),
    PAD.left,
    W - PAD.right,
    1.2,
  ); // names stand right of their points
  const y = linear([...every, here].map(value), H - PAD.bottom, PAD.top);
  const at = (p) => `${x.place(p.user)} ${y.place(value(p))}`;
  const path = (points, name) =>
    draw("path", { class: name, d: points.map((p, i) => `${i ? "L" : "M"}${at(p)}`).join("") });
  const load = (p) => said(words.axes[varied], p.at).join("");
  const layout = (each) => said(words.layout, each.layout.tp, each.layout.dp).join("");
  const color = (number) => COLORS[number % COLORS.length];
  const dots = found.flatMap((line, number) =>
    line.points.map((p) =>
      titled(
        draw("circle", { cx: x.place(p.user), cy: y.place(value(p)), r: 4, class: `f${color(number)} edge` }),
        `${found.length > 1 ? `${layout(line)}, ` : ""}${load(p)}: ${rate(value(p))}, ${rate(p.user)}`,
      ),
    ),
  );
  const front = frontOf(every, better);
  const told = [];
  for (const p of [...front].reverse()) {
    // from the right, where the points of small loads stand close together
    const place = [x.place(p.user) + 8, y.place(value(p)) - 5];
    if (!told.some(([, other]) => Math.abs(other[1] - place[1]) < FAR.y && Math.abs(other[0] - place[0]) < FAR.x))
      told.push([p, place]);
  }
  const labels = told.map(([p, place]) => text(...place, load(p), { class: "halo soft" }));
  const now = titled(
    draw("rect", {
      x: x.place(here.user) - 6,
      y: y.place(value(here)) - 6,
      width: 12,
      height: 12,
      class: `f${HERE} edge`,
    }),
    words.here,
  );
  const beside = found.length > 1 ? found.map((line) => path(line.points, "faint")) : [];
  const picture_ = picture(title, H, frame(x, y, names), beside, path(front, "path"), dots, labels, now);
  const key = found.map((line, i) => [color(i), found.length > 1 ? layout(line) : words.bases.expected, "circle"]);
  return chart(title, picture_, [...key, [HERE, words.here]]);
}

export function speeds(answers, words) {
  const found = lines(answers);
  const title = found[0].length > 1 ? words.charts.layouts : words.charts.pareto;
  const names = [words.axes.user, words.axes.gpu];
  const gpu = (p) => p.gpu;
  return drawn(title, found, names, gpu, gpu, words, answers.varied);
}

export function money(answers, words) {
  const [found, here] = lines(answers);
  if (here.dollars === null) return null;
  const priced = found.map((line) => ({ ...line, points: line.points.filter((p) => p.dollars !== null) }));
  const names = [words.axes.user, words.axes.dollars];
  const cheap = (p) => -p.dollars;
  return drawn(words.charts.money, [priced, here], names, (p) => p.dollars, cheap, words, answers.varied);
}
