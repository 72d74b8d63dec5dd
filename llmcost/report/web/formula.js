// A figure's formula, where the pointer or the keyboard's focus is on it. Escape closes it.
import { make } from "./dom.js";
import { ofUnit } from "./units.js";

export const figure = (path, text) => make("button", { type: "button", class: "figure", "data-path": path }, text);

const NAMES = 12; // of parts of a formula that are spelled out below it

// A sum of many kernels, as its parts: each a time, and behind it its formula. Any other formula, in letters and sizes.
function formula(each, words) {
  const parts = each.parts[each.quantity];
  if (!parts) return [make("code", {}, `= ${each.letters}`), make("code", { class: "soft" }, `= ${each.sizes}`)];
  const shown = parts.map(({ name, letters, value }) =>
    make(
      "details",
      {},
      make("summary", {}, make("code", {}, name), make("code", {}, ofUnit(value, each.unit))),
      make("code", { class: "soft" }, `= ${letters}`),
    ),
  );
  return [make("p", {}, words.formula.sum), ...shown];
}

function told(each, words) {
  const where = each.where.slice(0, NAMES).map((entry) => make("code", {}, `${entry.name} = ${entry.letters}`));
  const legend = Object.entries(each.legend).map(
    ([letter, { value, meaning }]) =>
      `${letter} = ${typeof value === "number" ? value.toLocaleString("en") : value}: ${meaning}`,
  );
  return [
    make("p", {}, make("strong", {}, `${each.what}: ${ofUnit(each.value, each.unit)}`)),
    ...formula(each, words),
    ...where,
    make("p", { class: "soft" }, legend.join(" · ")),
    make("p", { class: "soft" }, `${words.formula.source}: ${each.source}`),
  ];
}

export function followFigures(box, spoken, explain) {
  let at = null;
  const place = (target) => {
    const where = target.getBoundingClientRect();
    const left = Math.max(8, Math.min(where.left, innerWidth - box.offsetWidth - 12));
    const above = where.bottom + box.offsetHeight + 12 > innerHeight && where.top > box.offsetHeight + 12;
    box.style.left = `${left + scrollX}px`;
    box.style.top = `${(above ? where.top - box.offsetHeight - 6 : where.bottom + 6) + scrollY}px`;
  };
  async function open(target) {
    if (at === target) return;
    at = target;
    box.hidden = true;
    const show = (...children) => {
      box.replaceChildren(...children);
      box.hidden = false;
      place(target);
    };
    const slow = setTimeout(() => at === target && show(make("p", { class: "soft" }, spoken().waiting)), 300);
    const found = await explain(target.dataset.path);
    clearTimeout(slow);
    if (at !== target) return;
    const [each] = found.documents?.[0].explanations ?? [];
    const words = spoken();
    show(...(each ? told(each, words) : [make("p", {}, found.error ?? words.formula.none)]));
  }
  const close = () => {
    at = null;
    box.hidden = true;
  };
  const found = (event) => event.target.closest?.(".figure");
  let seen = ""; // where the pointer was: what scrolls beneath a pointer that rests is not pointed at
  addEventListener("pointerover", (event) => {
    const now = `${event.screenX} ${event.screenY}`;
    if (now === seen) return;
    seen = now;
    if (found(event)) open(found(event));
    else if (!event.target.closest?.("#formula")) close();
  });
  addEventListener("focusin", (event) => {
    if (found(event)) open(found(event));
    else if (!event.target.closest?.("#formula")) close();
  });
  addEventListener("click", (event) => {
    if (found(event)) open(found(event));
  });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
  });
}
