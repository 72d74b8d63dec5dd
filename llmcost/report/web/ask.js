// Questions go to the local server, or to Python in a worker of this browser; both answer with the same documents.
const server = {
  async ask(question) {
    const reply = await fetch("ask", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(question),
    });
    return reply.json();
  },
};

function browser() {
  const worker = new Worker("worker.js", { type: "module" });
  const waiting = new Map();
  let last = 0;
  worker.onmessage = ({ data }) => {
    waiting.get(data.number)?.(JSON.parse(data.answer));
    waiting.delete(data.number);
  };
  const broken = (event) => {
    for (const tell of waiting.values()) tell({ error: event.message || "Python did not start", control: "" });
    waiting.clear();
  };
  worker.onerror = broken;
  return {
    ask(question) {
      last += 1;
      const number = last;
      return new Promise((tell) => {
        waiting.set(number, tell);
        worker.postMessage({ number, question: JSON.stringify(question) });
      });
    },
  };
}

export const inBrowser = document.querySelector('meta[name="answers"]').content === "browser";
const asker = inBrowser ? browser() : server;
export const ask = (question) => asker.ask(question);
