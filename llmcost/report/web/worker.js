// Python inside the browser: the same code answers the same questions as behind the local server.
import { loadPyodide } from "./pyodide/pyodide.mjs";

const PLACE = "/llmcost";
// A first answer reads the modules and the files that the next ones need too.
const FIRST = `
from llmcost.cli.page import FIRST, answer, reply
answer({"ask": "estimate", "options": FIRST})
reply`;

async function start() {
  const [python, packed] = await Promise.all([loadPyodide(), fetch("python.zip").then((reply) => reply.arrayBuffer())]);
  python.unpackArchive(packed, "zip", { extractDir: PLACE });
  python.runPython(`import sys; sys.path.insert(0, "${PLACE}")`);
  return python.runPython(FIRST);
}

const ready = start();
const tell = () => postMessage({ started: true }); // also where it failed: then each answer says why
ready.then(tell, tell);

onmessage = async ({ data: { number, question } }) => {
  let answer;
  try {
    answer = (await ready)(question);
  } catch (error) {
    answer = JSON.stringify({
      error: String(error.message ?? error)
        .trim()
        .split("\n")
        .pop(),
      control: "",
    });
  }
  postMessage({ number, answer });
};
