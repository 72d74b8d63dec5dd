// Figures as people read them: three digits and a prefix of the decimal system, as the command line prints them.
const PREFIXES = ["", "K", "M", "G", "T", "P", "E", "Z"];

function digits(x) {
  const shown = x >= 100 ? Math.round(x).toString() : x.toPrecision(3);
  return shown.replace(/\B(?=(\d{3})+(?!\d))/g, x >= 1000 ? "," : "");
}

function prefixed(x, unit) {
  let power = 0;
  for (let y = x; y >= 999.5 && power < PREFIXES.length - 1; y /= 1000) {
    x = y / 1000;
    power += 1;
  }
  return `${digits(x)} ${PREFIXES[power]}${unit}`;
}

export const significant = (x) => digits(x);
export const joules = (x) => prefixed(x, "J").replace("KJ", "kJ");
export const bytes = (x) => (x < 1000 ? `${x} B` : prefixed(x, "B"));
export const flops = (x) => prefixed(x, "FLOP");
export const rate = (x) => (x >= 99.5 ? Math.round(x).toLocaleString("en") : digits(x));
export const whole = (x) => x.toLocaleString("en");
export const percent = (x) => `${digits(100 * x)}\u00a0%`;
export const about = (x) => `${Math.round(100 * x)}\u00a0%`;

export function count(x) {
  if (x < 1e6) return whole(x);
  return x < 1e9 ? `${digits(x / 1e6)} M` : x < 1e12 ? `${digits(x / 1e9)} B` : `${digits(x / 1e12)} T`;
}

export function seconds(x) {
  if (x >= 3600) return `${digits(x / 3600)} h`;
  if (x >= 1) return `${digits(x)} s`;
  return x >= 1e-3 ? `${digits(x * 1e3)} ms` : `${digits(x * 1e6)} µs`;
}

export function ofUnit(value, unit) {
  if (value === null || typeof value !== "number") return String(value);
  const shown = { B: bytes, bytes, FLOPs: flops, FLOP: flops, s: seconds, parameters: count }[unit];
  if (shown) return shown(value);
  return `${Number.isInteger(value) ? whole(value) : rate(value)} ${unit}`.trim();
}

export function axis(x) {
  const [shown, unit] = prefixed(x, "").split(" ");
  return `${Number(shown)} ${unit === "K" ? "k" : unit}`.trim();
}
