"""`llmcost web`: the calculator as a page in the browser."""

from pathlib import Path
from typing import Annotated

from llmcost.ground.errors import InputError
from llmcost.ground.options import Option, count, flag

PORT = 8017
LARGEST_PORT = 65_535


def web(
    *,
    port: Annotated[int, count("Port of this machine; 0: a free one.", "PORT", LARGEST_PORT, least=0)] = PORT,
    show: Annotated[bool, flag("Open the page in the browser.", long="--open/--no-open")] = True,
    build: Annotated[
        str | None, Option("Write the page as files that need no Python to serve.", metavar="FOLDER")
    ] = None,
    parts: Annotated[
        str | None,
        Option("For --build: keep here what npm and pip fetch, and fetch nothing that is here.", metavar="FOLDER"),
    ] = None,
) -> None:
    """A page for this machine's browser: controls, the answer, charts, and each figure's formula.

    Example: llmcost web
    """
    if build is not None:
        if port != PORT or not show:
            raise InputError("--build: writes files and serves nothing; --port and --no-open are of the server")
        from llmcost.cli.output import say
        from llmcost.cli.page_build import build_page

        files, size = build_page(Path(build), None if parts is None else Path(parts))
        said = f"wrote {files} files, {size / 1e6:.1f} MB"
        say(f"{said}; any web server can serve them: python -m http.server -d {build}")
        return
    if parts is not None:
        raise InputError("--parts: is for --build")
    _serve(port, show=show)


def _serve(port: int, *, show: bool) -> None:
    """Serve the page until Ctrl-C. Raises InputError where the port cannot be had."""
    from llmcost.cli.output import say
    from llmcost.cli.page_server import Server

    try:
        server = Server(port)
    except OSError as error:
        raise InputError(f"--port {port}: {error.strerror or error}; --port 0 takes a free one") from None
    with server:
        say(f"{server.url()} (Ctrl-C ends it)")
        if show:
            import webbrowser

            webbrowser.open(server.url())
        server.serve_forever()
