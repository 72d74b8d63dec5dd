// The controls: one for each option that the page has, with its help, its default, and its error beside it.
import { make } from "./dom.js";

const NARROW = "(max-width: 52rem)"; // as in page.css: there, groups of controls without a value are closed
const SHORT = 9; // letters of a default that a narrow control has room for
const NUMBER = /^[\d.]+$/; // a default that needs no words
const WIDE = new Set(["model", "hw", "engine"]);

export function makeControls(form, setup, changed) {
  const { words } = setup;
  const inputs = {};
  let file = null;
  const english = words.lang === "en";
  const usual = (about) => words.defaults[about.default] ?? about.default;
  const told = (name, about) => {
    const shown = english || NUMBER.test(about.default) ? about.default : "";
    return `${words.help[name] ?? about.help}${shown ? ` [${shown}]` : ""}`;
  };

  function control(name) {
    const about = setup.controls[name];
    const input = make("input", {
      id: `c-${name}`,
      name,
      title: told(name, about),
      spellcheck: "false",
      placeholder: usual(about).length > SHORT && !WIDE.has(name) ? words.auto : usual(about),
      list: about.values.length ? `l-${name}` : null,
      "aria-describedby": `e-${name}`,
    });
    const list = about.values.length
      ? make(
          "datalist",
          { id: `l-${name}` },
          about.values.map((value) => make("option", { value })),
        )
      : null;
    input.addEventListener("input", changed);
    input.addEventListener("focus", () => {
      if (list) input.select();
    });
    inputs[name] = input;
    const wrong = make("div", { class: "wrong", id: `e-${name}`, role: "alert" });
    const label = make("label", { for: `c-${name}` }, words.labels[name]);
    return make(
      "div",
      { class: WIDE.has(name) ? "control wide" : "control" },
      label,
      input,
      list,
      wrong,
      name === "model" ? drop() : null,
    );
  }

  const chooser = make("input", { type: "file", accept: ".json,.yaml,.yml", id: "file", "aria-label": words.file });
  const shown = make("span", {}, words.file);
  const remove = make("button", { type: "button", hidden: true }, words.file_remove);

  function drop() {
    const place = make("label", { class: "file", for: "file" }, shown, chooser);
    chooser.addEventListener("change", () => take(chooser.files[0]));
    for (const kind of ["dragover", "dragleave", "drop"]) {
      form.addEventListener(kind, (event) => {
        event.preventDefault();
        place.classList.toggle("over", kind === "dragover");
        if (kind === "drop") take(event.dataTransfer.files[0]);
      });
    }
    remove.addEventListener("click", () => {
      use(null);
      changed();
    });
    return make("div", {}, place, remove);
  }

  async function take(chosen) {
    if (!chosen) return;
    use({ name: chosen.name, text: await chosen.text() });
    changed();
  }

  function use(given) {
    file = given;
    chooser.value = "";
    shown.textContent = given ? `${words.file_used}: ${given.name}` : words.file;
    remove.hidden = !given;
    inputs.model.disabled = Boolean(given);
  }

  const groups = words.groups.map((group) =>
    make(
      "details",
      { open: true },
      make("summary", {}, group.title),
      make("div", { class: "fields" }, group.controls.map(control)),
    ),
  );
  form.append(...groups);
  form.addEventListener("submit", (event) => event.preventDefault());

  const options = () =>
    Object.fromEntries(
      Object.entries(inputs)
        .map(([name, input]) => [name, input.value.trim()])
        .filter(([name, text]) => text && !(file && name === "model")),
    );

  return {
    question: () => ({ options: options(), file }),
    link() {
      const kept = new URLSearchParams(options());
      if (!english) kept.set("lang", words.lang);
      if (file) {
        kept.set("file", file.name);
        kept.set("text", file.text);
      }
      return kept.toString();
    },
    read(hash) {
      const { lang: _, ...said } = Object.fromEntries(new URLSearchParams(hash));
      const kept = Object.keys(said).length ? said : setup.first; // a link that says a language alone asks the first question
      for (const [name, input] of Object.entries(inputs)) input.value = kept[name] ?? "";
      use(kept.text ? { name: kept.file ?? "config.json", text: kept.text } : null);
      const narrow = matchMedia(NARROW).matches;
      for (const [at, group] of groups.entries())
        group.open = !narrow || at === 0 || [...group.querySelectorAll("input")].some((input) => input.value);
    },
    apply(typed) {
      for (let at = 0; at < typed.length; at += 2) {
        const input = inputs[typed[at].replace(/^--/, "").replaceAll("-", "_")];
        if (input) input.value = typed[at + 1];
      }
      changed();
    },
    complain({ error, control: at }) {
      for (const [name, input] of Object.entries(inputs)) {
        const mine = Boolean(error) && name === at;
        if (mine) input.closest("details").open = true;
        input.setAttribute("aria-invalid", mine);
        document.getElementById(`e-${name}`).textContent = mine ? error : "";
      }
    },
  };
}
