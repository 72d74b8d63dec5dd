// node page_compile.mjs PYODIDE.mjs ARCHIVE.zip…: in each archive, every Python file becomes what Pyodide compiles of it.
import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const COMPILE = `
import importlib._bootstrap_external, importlib.util, io, zipfile

def compiled(name, source):
    code = compile(source, name, "exec", dont_inherit=True)
    return importlib._bootstrap_external._code_to_hash_pyc(code, importlib.util.source_hash(source), checked=False)

def archive(given):
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(given.to_bytes())) as read, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as write:
        for name in read.namelist():
            content = read.read(name)
            if name.endswith(".py"):
                name, content = f"{name}c", bytes(compiled(name, content))
            write.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()

archive`;

async function main([pyodide, ...archives]) {
  const { loadPyodide } = await import(pathToFileURL(resolve(pyodide)));
  const archive = (await loadPyodide()).runPython(COMPILE);
  for (const each of archives) writeFileSync(each, archive(new Uint8Array(readFileSync(each))).toJs());
}

main(process.argv.slice(2)).catch((error) => {
  console.error(String(error.message ?? error).trim());
  process.exit(1);
});
