// The charts, drawn as SVG in the page's colours: memory, time by operator, roofline, throughput against speed.
import { draw, make, said } from "./dom.js";
import { axis, bytes, flops, percent, rate, seconds } from "./units.js";

const W = 520;
const H = 300;
const PAD = { left: 62, right: 16, top: 14, bottom: 44 };

const text = (x, y, label, more = {}) => draw("text", { x, y, ...more }, label);
const titled = (element, label) => {
  element.append(draw("title", {}, label));
  return element;
};
const box = (x, y, width, height, color, label) =>
  titled(draw("rect", { x, y, width: Math.max(width, 0.5), height, class: `f${color} edge` }), label);

const SHAPES = {
  square: (color) => draw("rect", { width: 10, height: 10, class: `f${color}` }),
  circle: (color) => draw("circle", { cx: 5, cy: 5, r: 5, class: `f${color}` }),
};

// A titled picture with its key: a color, a label, and the shape of a mark where it is no square.
function chart(title, picture, key = []) {
  const swatch = (color, shape) => draw("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, SHAPES[shape](color));
  return make(
    "figure",
    {},
    make("h2", {}, title),
    picture,
    key.length
      ? make(
          "ul",
          { class: "key" },
          key.map(([color, label, shape = "square"]) => make("li", {}, swatch(color, shape), label)),
        )
      : null,
  );
}

const picture = (label, height, ...children) =>
  draw("svg", { viewBox: `0 0 ${W} ${height}`, role: "img", "aria-label": label }, ...children);

// Powers of ten that frame some values, and where a value stands between them.
function decades(values, from, to) {
  const low = Math.floor(Math.log10(Math.min(...values)) + 1e-9);
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values)) - 1e-9));
  const place = (x) => from + ((Math.log10(x) - low) / (high - low)) * (to - from);
  const step = Math.ceil((high - low) / 6);
  const ticks = Array.from({ length: high - low + 1 }, (_, i) => low + i)
    .filter((_, i) => i % step === 0)
    .map((p) => 10 ** p);
  return { place, ticks, low: 10 ** low, high: 10 ** high };
}

function frame(x, y, names) {
  const parts = [];
  for (const tick of x.ticks) {
    const at = x.place(tick);
    parts.push(
      draw("line", { x1: at, x2: at, y1: PAD.top, y2: H - PAD.bottom, class: "grid" }),
      text(at, H - PAD.bottom + 16, axis(tick), { "text-anchor": "middle", class: "soft" }),
    );
  }
  for (const tick of y.ticks) {
    const at = y.place(tick);
    parts.push(
      draw("line", { x1: PAD.left, x2: W - PAD.right, y1: at, y2: at, class: "grid" }),
      text(PAD.left - 6, at + 4, axis(tick), { "text-anchor": "end", class: "soft" }),
    );
  }
  parts.push(
    text((PAD.left + W - PAD.right) / 2, H - 8, names[0], { "text-anchor": "middle" }),
    text(14, (PAD.top + H - PAD.bottom) / 2, names[1], {
      "text-anchor": "middle",
      transform: `rotate(-90 14 ${(PAD.top + H - PAD.bottom) / 2})`,
    }),
  );
  return parts;
}

function memory({ estimate: { memory: m, serving } }, words) {
  const beside = m.weights_bytes + m.activation_bytes + m.runtime_bytes + m.set_aside_bytes;
  const roomy = serving && m.fits; // engines give the cache all that is left
  const cache = roomy ? m.usable_bytes - beside : m.kv_cache_bytes;
  const parts = [
    ["weights", m.weights_bytes],
    [roomy ? "cache_room" : "kv_cache", cache],
    ["activations", m.activation_bytes],
    ["runtime", m.runtime_bytes],
    ["set_aside", m.set_aside_bytes],
  ].filter(([, value]) => value > 0);
  const color = { weights: 0, kv_cache: 1, cache_room: 1, activations: 2, runtime: 3, set_aside: 7 };
  const total = parts.reduce((sum, [, value]) => sum + value, 0);
  const scale = (W - 40) / Math.max(total, m.usable_bytes);
  let x = 20;
  const boxes = parts.map(([name, value]) => {
    const label = `${words.parts[name]}: ${bytes(value)}`;
    const made = [box(x, 22, value * scale, 46, color[name], label)];
    x += value * scale;
    return made;
  });
  const limit = 20 + m.usable_bytes * scale;
  const anchor = limit > W / 2 ? "end" : "start";
  const mark = [
    draw("line", { x1: limit, x2: limit, y1: 12, y2: 78, class: total > m.usable_bytes ? "alarm" : "roof" }),
    text(limit, 94, `${words.parts.capacity}: ${bytes(m.usable_bytes)}`, { "text-anchor": anchor }),
  ];
  return chart(
    words.charts.memory,
    picture(words.charts.memory, 102, boxes.flat(), mark),
    parts.map(([name, value]) => [color[name], `${words.parts[name]} ${bytes(value)}`]),
  );
}

const LARGEST = 6;

function time(answers, words) {
  const phases = ["prefill", "decode"].filter((phase) => answers[phase]?.operators.some((row) => row.seconds));
  const sums = new Map();
  for (const phase of phases) {
    const total = answers[phase].operators.reduce((sum, row) => sum + (row.seconds ?? 0), 0);
    for (const row of answers[phase].operators)
      sums.set(row.operator, Math.max(sums.get(row.operator) ?? 0, (row.seconds ?? 0) / total));
  }
  const named = [...sums]
    .sort((one, other) => other[1] - one[1])
    .slice(0, LARGEST)
    .map(([name]) => name);
  const bars = phases.map((phase, row) => {
    const rows = answers[phase].operators.filter((each) => each.seconds);
    const total = rows.reduce((sum, each) => sum + each.seconds, 0);
    const pieces = [
      ...named.map((name) => [name, rows.filter((each) => each.operator === name)]),
      [words.parts.other, rows.filter((each) => !named.includes(each.operator))],
    ];
    let x = 20;
    const y = 20 + row * 66;
    const made = pieces.map(([name, all], i) => {
      const value = all.reduce((sum, each) => sum + each.seconds, 0);
      if (!value) return null;
      const width = (value / total) * (W - 40);
      const share =
        width > 52
          ? text(x + width / 2, y + 27, percent(value / total), {
              "text-anchor": "middle",
              class: `o${i < named.length ? i : 7}`,
            })
          : null;
      const drawn = [box(x, y, width, 34, i < named.length ? i : 7, `${name}: ${seconds(value)}`), share];
      x += width;
      return drawn;
    });
    return [text(20, y - 5, `${words.phases[phase]}: ${seconds(total)}`), made];
  });
  const key = [
    ...named.map((name, i) => [i, name.replaceAll("_", " ")]),
    ...(sums.size > named.length ? [[7, words.parts.other]] : []),
  ];
  return chart(words.charts.time, picture(words.charts.time, 128, bars.flat(4).filter(Boolean)), key);
}

function roofline(answers, words) {
  const { hardware } = answers.estimate;
  const points = ["prefill", "decode"].flatMap((phase, color) =>
    (answers[phase]?.operators ?? [])
      .filter((row) => row.flops_per_s && row.intensity > 0)
      .map((row) => ({ ...row, phase, color })),
  );
  const peak = hardware.peak_flops_per_s;
  const bandwidth = hardware.bandwidth_bytes_per_s;
  if (!peak || !bandwidth || !points.length) return null;
  const ridge = peak / bandwidth;
  const x = decades([...points.map((p) => p.intensity), ridge / 3, ridge * 3], PAD.left, W - PAD.right);
  const y = decades([...points.map((p) => p.flops_per_s), peak, bandwidth * x.low], H - PAD.bottom, PAD.top);
  const roof = draw("path", {
    class: "roof",
    d: `M${x.place(x.low)} ${y.place(bandwidth * x.low)}L${x.place(ridge)} ${y.place(peak)}H${x.place(x.high)}`,
  });
  const reached = (p) => `${flops(p.flops_per_s)}/s, ${rate(p.intensity)} FLOP/B, ${seconds(p.seconds)}`;
  const label = (p) => `${words.phases[p.phase]}, ${p.operator}: ${reached(p)}`;
  const most = Math.max(...points.map((p) => p.share ?? 0));
  const dots = points.map((p) =>
    titled(
      p.color
        ? draw("rect", {
            x: x.place(p.intensity) - 5,
            y: y.place(p.flops_per_s) - 5,
            width: 10,
            height: 10,
            class: "f1 edge",
          })
        : draw("circle", { cx: x.place(p.intensity), cy: y.place(p.flops_per_s), r: 5.5, class: "f0 edge" }),
      label(p),
    ),
  );
  const longest = points.find((p) => p.share === most);
  const right = x.place(longest.intensity) > W - 130;
  const name = text(
    x.place(longest.intensity) + (right ? -9 : 9),
    y.place(longest.flops_per_s) + (right ? 20 : 14),
    longest.operator.replaceAll("_", " "),
    { "text-anchor": right ? "end" : "start", class: "halo" },
  );
  const said_ = [
    text(W - PAD.right - 4, y.place(peak) - 6, `${flops(peak)}/s`, { "text-anchor": "end", class: "halo" }),
    text(x.place(2 * x.low) + 10, y.place(2 * bandwidth * x.low) + 12, `${bytes(bandwidth)}/s`, { class: "halo" }),
  ];
  return chart(
    words.charts.roofline,
    picture(words.charts.roofline, H, frame(x, y, [words.axes.intensity, words.axes.flops]), roof, dots, name, said_),
    [
      [0, words.phases.prefill, "circle"],
      [1, words.phases.decode],
    ].filter(([color]) => points.some((p) => p.color === color)),
  );
}

function pareto({ curve, varied, estimate }, words) {
  if (!curve || curve.length < 2) return null;
  const of = (each) => {
    const e = each.serving?.expected;
    if (varied === "concurrency" && e?.tpot_seconds)
      return { user: 1 / e.tpot_seconds, gpu: e.output_tokens_per_s_per_gpu, at: each.workload.concurrency };
    return {
      user: each.decode.expected.tokens_per_s_per_user,
      gpu: each.decode.expected.tokens_per_s_per_gpu,
      at: each.workload.batch,
    };
  };
  const points = curve.map(of).filter((p) => p.user > 0 && p.gpu > 0);
  const here = of(estimate);
  if (points.length < 2) return null;
  const linear = (values, from, to, more = 1) => {
    const most = Math.max(...values) * more;
    const step = [1, 2, 2.5, 5, 10].map((k) => k * 10 ** Math.floor(Math.log10(most / 4))).find((s) => most / s <= 6);
    const high = Math.ceil(most / step) * step;
    return {
      place: (v) => from + (v / high) * (to - from),
      ticks: Array.from({ length: Math.round(high / step) + 1 }, (_, i) => i * step),
    };
  };
  const x = linear(
    [...points, here].map((p) => p.user),
    PAD.left,
    W - PAD.right,
    1.2,
  ); // names stand right of their points
  const y = linear(
    [...points, here].map((p) => p.gpu),
    H - PAD.bottom,
    PAD.top,
  );
  const line = draw("path", {
    class: "path",
    d: points.map((p, i) => `${i ? "L" : "M"}${x.place(p.user)} ${y.place(p.gpu)}`).join(""),
  });
  const label = (p) => said(words.axes[varied], p.at).join("");
  const dots = points.map((p) =>
    titled(
      draw("circle", { cx: x.place(p.user), cy: y.place(p.gpu), r: 4, class: "f0 edge" }),
      `${label(p)}: ${rate(p.gpu)}, ${rate(p.user)}`,
    ),
  );
  const told = [];
  for (const p of [...points].reverse()) {
    // from the right, where the points of small loads stand close together
    const at = [x.place(p.user) + 8, y.place(p.gpu) - 5];
    if (!told.some(([, other]) => Math.abs(other[1] - at[1]) < 14 && Math.abs(other[0] - at[0]) < 90))
      told.push([p, at]);
  }
  const names = told.map(([p, at]) => text(...at, label(p), { class: "halo soft" }));
  const now = [
    titled(
      draw("rect", { x: x.place(here.user) - 6, y: y.place(here.gpu) - 6, width: 12, height: 12, class: "f1 edge" }),
      words.here,
    ),
  ];
  return chart(
    words.charts.pareto,
    picture(words.charts.pareto, H, frame(x, y, [words.axes.user, words.axes.gpu]), line, dots, names, now),
    [
      [0, words.bases.expected, "circle"],
      [1, words.here],
    ],
  );
}

export function drawCharts(place, answers, words) {
  place.replaceChildren(...[memory, time, roofline, pareto].map((each) => each(answers, words)).filter(Boolean));
}
