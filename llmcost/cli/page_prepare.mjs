// node page_prepare.mjs FOLDER: in the page's two archives every Python file becomes what Pyodide compiles of it;
// first.json becomes what Pyodide answers to the questions of a first visit.
import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const PLACE = "/llmcost";
const COMPILE = `
import importlib._bootstrap_external, importlib.util, io, zipfile

def compiled(name, source):
    code = compile(source, name, "exec", dont_inherit=True)
    return bytes(importlib._bootstrap_external._code_to_hash_pyc(code, importlib.util.source_hash(source), checked=False))

def archive(given):
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(given.to_bytes())) as read, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as write:
        for name in read.namelist():
            content = read.read(name)
            if name.endswith(".py"):
                name, content = f"{name}c", compiled(name, content)
            write.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()

archive`;
const ANSWER = `
import sys
sys.path.insert(0, "${PLACE}")
from llmcost.cli.page_first import first_answers
first_answers()`;

async function main(folder) {
  const { loadPyodide } = await import(pathToFileURL(resolve(folder, "pyodide/pyodide.mjs")));
  const python = await loadPyodide();
  const compiled = python.runPython(COMPILE);
  for (const name of ["python.zip", "pyodide/python_stdlib.zip"]) {
    const archive = resolve(folder, name);
    writeFileSync(archive, compiled(new Uint8Array(readFileSync(archive))).toJs());
  }
  python.unpackArchive(new Uint8Array(readFileSync(resolve(folder, "python.zip"))), "zip", { extractDir: PLACE });
  writeFileSync(resolve(folder, "first.json"), python.runPython(ANSWER));
}

main(process.argv[2]).catch((error) => {
  console.error(String(error.message ?? error).trim());
  process.exit(1);
});
