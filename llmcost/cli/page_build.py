"""`llmcost web --build`: the page as plain files, with a Python of its own that answers inside the browser.

Pyodide is CPython compiled for browsers; npm has it. Our code and the packages that it needs to answer are pure Python
and are taken from where they are installed, save pydantic_core, whose wheel for Pyodide pip has. All of it is written
beside the page, so that a browser fetches nothing from anywhere else.
"""

import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

from llmcost.cli.page import FILES, LANGUAGES, POLICY, as_json, setup
from llmcost.ground.errors import InputError, shortened

PYODIDE = "pyodide@314"  # Python 3.14, the first whose pydantic_core has a wheel for browsers
OF_PYODIDE = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json")
INSTALLED = ("typer", "pyyaml", "typing-extensions")  # what answering imports, with what these require
UNUSED = ("rich", "pydantic")  # which typer requires, and does not load here
COMPILED = "pydantic_core"
SPECS = ("models", "hardware")
IN_BROWSER = f"{POLICY}; worker-src 'self'".replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'")
MARK = "worker.js"  # a folder with this file is an earlier page, which may be written anew


def build_page(folder: Path, parts: Path | None) -> tuple[int, int]:
    """Write the page into a folder; its number of files and their bytes.

    `parts`: a folder that keeps what npm and pip fetch; what it holds already is not fetched. Raises InputError where
    the folder holds something else, or a part cannot be had.
    """
    if folder.exists() and not (folder.is_dir() and (not any(folder.iterdir()) or (folder / MARK).is_file())):
        raise InputError(f"--build {folder}: holds something else; name a new folder, an empty one, or an earlier page")
    try:
        with TemporaryDirectory(dir=folder.absolute().parent, prefix=".llmcost-page-") as draft:
            whole = Path(draft) / "page"
            _write(whole, parts or Path(draft))
            if folder.exists():
                folder.rename(Path(draft) / "earlier")
            whole.rename(folder)
    except OSError as error:
        raise InputError(f"--build {folder}: {error.strerror or error}") from None
    sizes = [each.stat().st_size for each in folder.rglob("*") if each.is_file()]
    return len(sizes), sum(sizes)


def _write(whole: Path, parts: Path) -> None:
    """The page's files, Pyodide's, and the archive of Python code."""
    (whole / "pyodide").mkdir(parents=True)
    lock = _unpack_pyodide(whole / "pyodide", parts)
    with ZipFile(whole / "python.zip", "w", ZIP_DEFLATED) as archive:
        for name, content in sorted([*_installed(), *_our_own(), *_of_wheel(_wheel(parts, lock))]):
            archive.writestr(ZipInfo(name), content, ZIP_DEFLATED)  # without a date: the same code, the same file
    for each in FILES.iterdir():
        if each.is_file():
            (whole / each.name).write_bytes(each.read_bytes())
    page = (FILES / "index.html").read_text("utf-8")
    said = f'<meta http-equiv="Content-Security-Policy" content="{IN_BROWSER}">'
    page = page.replace('content="server"', 'content="browser"').replace("<title>", f"{said}\n<title>")
    (whole / "index.html").write_text(page, "utf-8")
    (whole / "setup.json").write_bytes(as_json(setup()))
    _prepare(whole)


def _prepare(whole: Path) -> None:
    """Compile the archives' Python files, and answer what a first visit asks, with Pyodide under npm's node.

    A browser would need seconds for either at each visit; and the same Python gives the same figures to the last digit.
    """
    node = which("node")
    if node is None:
        raise InputError("--build: node, which runs Pyodide, is not installed")
    command = [node, str(Path(__file__).with_name("page_prepare.mjs")), str(whole)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a command of ours
    if done.returncode:
        raise InputError(f"--build: node could not run Pyodide: {_last_line(done.stderr)}")


def _last_line(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()] or ["no message"]
    return shortened(lines[-1].strip())


def _our_own() -> Iterator[tuple[str, bytes]]:
    """Our package and the shipped specs, laid out as in a wheel."""
    from llmcost.specs.catalog import shipped

    package = Path(__file__).resolve().parent.parent
    roots = [("llmcost", package), *((f"llmcost/shipped/{kind}", shipped(kind)) for kind in SPECS)]
    for place, root in roots:
        for each in root.rglob("*"):
            inside = each.relative_to(root)
            skipped = "__pycache__" in inside.parts or inside.parts[0] == "shipped" or each.is_relative_to(FILES)
            if each.is_file() and (not skipped or each.name in LANGUAGES.values()):
                yield f"{place}/{inside.as_posix()}", each.read_bytes()


def _installed() -> Iterator[tuple[str, bytes]]:
    """The Python files of the packages that answering imports. Raises InputError where nothing says which they are."""
    for name in _with_required(INSTALLED):
        files = distribution(name).files
        if files is None:
            raise InputError(f"--build: {name} was not installed by pip: which files belong to it is not recorded")
        for each in files:
            if each.suffix == ".py" and ".." not in each.parts:
                yield each.as_posix(), Path(str(each.locate())).read_bytes()


def _with_required(names: Iterable[str]) -> list[str]:
    """Distributions, and those that they require without being asked for an extra, so far as they are installed."""
    found: list[str] = []
    waiting = [*names]
    while waiting:
        name = waiting.pop()
        try:
            required = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # of another system or version of Python
        if name not in found and name not in UNUSED:
            found.append(name)
            waiting += [_name(each) for each in required if "extra ==" not in each]
    return found


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].replace("_", "-").lower()


def _of_wheel(wheel: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with ZipFile(wheel) as archive:
            for name in archive.namelist():
                if not name.endswith(("/", ".pyi")) and ".dist-info/sboms" not in name:
                    yield name, archive.read(name)
    except BadZipFile as error:
        raise InputError(f"--parts: {wheel}: not a wheel: {_first_line(error)}") from None


def _unpack_pyodide(place: Path, parts: Path) -> dict[str, str]:
    """Pyodide's files, from npm's package; what it says of itself: its version of Python and its binary interface."""
    package = _part(parts, "pyodide-*.tgz", _npm)
    try:
        with tarfile.open(package) as archive:
            for name in OF_PYODIDE:
                file = archive.extractfile(f"package/{name}")
                assert file is not None
                (place / name).write_bytes(file.read())
    except (tarfile.TarError, KeyError, EOFError) as error:
        raise InputError(f"--parts: {package}: not npm's package of Pyodide: {_first_line(error)}") from None
    about: dict[str, str] = json.loads((place / "pyodide-lock.json").read_text("utf-8"))["info"]
    return about


def _first_line(error: Exception) -> str:
    return str(error).strip("'\"").partition("\n")[0]


def _npm(parts: Path) -> list[str]:
    npm = which("npm")
    if npm is None:
        raise InputError("--build: npm, which fetches Pyodide, is not installed")
    return [npm, "pack", PYODIDE, "--silent", "--pack-destination", str(parts)]


def _wheel(parts: Path, pyodide: dict[str, str]) -> Path:
    """The wheel of pydantic_core for this Pyodide."""
    version = pyodide["python"].rpartition(".")[0]
    abi = f"cp{version.replace('.', '')}"
    platform = f"pyemscripten_{pyodide['abi_version']}_{pyodide['arch']}"

    def pip(parts: Path) -> list[str]:
        of = ["--implementation", "cp", "--python-version", version, "--abi", abi, "--platform", platform]
        how = ["-q", "--no-deps", "--only-binary=:all:", "-d", str(parts)]
        return [sys.executable, "-m", "pip", "download", *how, *of, COMPILED]

    return _part(parts, f"{COMPILED}-*-{abi}-{abi}-{platform}.whl", pip)


def _part(parts: Path, pattern: str, fetching: Callable[[Path], list[str]]) -> Path:
    """The newest file of a name among the parts, fetched if there is none. Raises InputError where it cannot be had."""
    parts.mkdir(parents=True, exist_ok=True)
    if not any(parts.glob(pattern)):
        command = fetching(parts)
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a command of ours
        if done.returncode or not any(parts.glob(pattern)):
            raise InputError(f"--build: {Path(command[0]).name} could not fetch {pattern}: {_last_line(done.stderr)}")
    return max(parts.glob(pattern), key=lambda each: each.stat().st_mtime)
