// The charts of an estimate: memory, time by operator, roofline; those of several layouts are in layouts.js.
import { draw } from "./dom.js";
import { H, PAD, W, box, chart, decades, frame, picture, text, titled } from "./drawing.js";
import { money, speeds } from "./layouts.js";
import { bytes, flops, percent, rate, seconds } from "./units.js";

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

export function drawCharts(place, answers, words) {
  place.replaceChildren(...[memory, time, roofline, speeds, money].map((each) => each(answers, words)).filter(Boolean));
}
