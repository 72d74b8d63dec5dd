// What charts are drawn of, as SVG in the page's colours: boxes, texts, axes, a frame, a key.
import { draw, make } from "./dom.js";
import { axis } from "./units.js";

export const W = 520;
export const H = 300;
export const PAD = { left: 62, right: 16, top: 14, bottom: 44 };

export const text = (x, y, label, more = {}) => draw("text", { x, y, ...more }, label);
export const titled = (element, label) => {
  element.append(draw("title", {}, label));
  return element;
};
export const box = (x, y, width, height, color, label) =>
  titled(draw("rect", { x, y, width: Math.max(width, 0.5), height, class: `f${color} edge` }), label);

const SHAPES = {
  square: (color) => draw("rect", { width: 10, height: 10, class: `f${color}` }),
  circle: (color) => draw("circle", { cx: 5, cy: 5, r: 5, class: `f${color}` }),
};

// A titled picture with its key: a color, a label, and the shape of a mark where it is no square.
export function chart(title, picture, key = []) {
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

export const picture = (label, height, ...children) =>
  draw("svg", { viewBox: `0 0 ${W} ${height}`, role: "img", "aria-label": label }, ...children);

// Powers of ten that frame some values, and where a value stands between them.
export function decades(values, from, to) {
  const low = Math.floor(Math.log10(Math.min(...values)) + 1e-9);
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values)) - 1e-9));
  const place = (x) => from + ((Math.log10(x) - low) / (high - low)) * (to - from);
  const step = Math.ceil((high - low) / 6);
  const ticks = Array.from({ length: high - low + 1 }, (_, i) => low + i)
    .filter((_, i) => i % step === 0)
    .map((p) => 10 ** p);
  return { place, ticks, low: 10 ** low, high: 10 ** high };
}

export function frame(x, y, names) {
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

// An axis from 0 to a round number that some values stay below, with at most six steps.
export function linear(values, from, to, more = 1) {
  const most = Math.max(...values) * more;
  const step = [1, 2, 2.5, 5, 10].map((k) => k * 10 ** Math.floor(Math.log10(most / 4))).find((s) => most / s <= 6);
  const high = Math.ceil(most / step) * step;
  return {
    place: (v) => from + (v / high) * (to - from),
    ticks: Array.from({ length: Math.round(high / step) + 1 }, (_, i) => i * step),
  };
}
