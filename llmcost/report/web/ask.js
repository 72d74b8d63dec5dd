// Questions go to the local server, or to Python in a worker of this browser; both answer with the same documents.
const nothing = async () => {};

const server = {
  async ask(question) {
    const reply = await fetch("ask", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(question),
    });
    return reply.json();
  },
  answerable: nothing,
  start: nothing,
};

// Python takes seconds to start. What a first visit asks was answered when the page was built (`first.json`), so that
// it is shown before Python has started; every other question waits for Python.
function browser() {
  const first = fetch("first.json").then(async (reply) => new Map(await reply.json()));
  const waiting = new Map();
  let last = 0;
  let worker = null;
  let begun = null;

  function begin(started) {
    worker = new Worker("worker.js", { type: "module" });
    worker.onmessage = ({ data }) => {
      if (data.started) return started();
      waiting.get(data.number)?.(JSON.parse(data.answer));
      waiting.delete(data.number);
    };
    worker.onerror = (event) => {
      for (const tell of waiting.values()) tell({ error: event.message || "Python did not start", control: "" });
      waiting.clear();
      started();
    };
  }
  const start = () => {
    begun ??= new Promise(begin);
    return begun;
  };

  return {
    start,
    async ask(question) {
      const text = JSON.stringify(question);
      const known = (await first).get(text);
      if (known) return JSON.parse(known);
      await start();
      last += 1;
      const number = last;
      return new Promise((tell) => {
        waiting.set(number, tell);
        worker.postMessage({ number, question: text });
      });
    },
    async answerable(question) {
      if (!(await first).has(JSON.stringify(question))) await start();
    },
  };
}

export const inBrowser = document.querySelector('meta[name="answers"]').content === "browser";
// ask: a question's answer. answerable: waits until there is something to answer it. start: waits until Python has started.
export const { ask, answerable, start } = inBrowser ? browser() : server;
