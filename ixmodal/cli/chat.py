"""`ixmodal chat`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markdown import Markdown
from rich.padding import Padding
from rich.text import Text

from ixmodal.cli.server import Piece, Server, ServerError
from ixmodal.cli.terminal import console, failure
from ixmodal.errors import IxmodalError

DEFAULT_URL = "http://127.0.0.1:8000/v1"
HISTORY_LINES = 1000
_NOTES = {"length": "cut at the token limit", "content_filter": "withheld", "stopped": "stopped"}
_HELP = """\
/help            this
/reset           forget the conversation, keep the system message
/model [ID]      say which model answers, or choose another
/system [TEXT]   say what the system message is, or set it; `/system -` removes it
/save FILE       write the conversation as JSON
/quit            leave, as Ctrl-D does

Ctrl-C stops an answer. A line that ends in \\ goes on in the next."""


def chat(
    base_url: Annotated[str | None, typer.Option(help=f"Any OpenAI base URL; unset: {DEFAULT_URL}.")] = None,
    model: Annotated[str | None, typer.Option(help="The model to ask; unset: the server's first.")] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="OPENAI_API_KEY", help="Key, where the server wants one.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
) -> None:
    """Chat with a model of a running server, here or anywhere."""
    try:
        with Server(base_url or DEFAULT_URL, api_key) as server:
            try:
                ids = [found["id"] for found in server.models()]
            except ServerError as error:
                raise _with_advice(error, base_url) from None
            if model is None and not ids:
                raise ServerError(f"{server.url} has no models")
            conversation = Conversation(server, model or ids[0], ids, system)
            console.print(
                f"[bold]{conversation.model}[/bold] at {server.url}; /help says what there is", highlight=False
            )
            conversation.run(lines())
    except IxmodalError as error:
        raise failure(error) from None


def _with_advice(error: ServerError, base_url: str | None) -> ServerError:
    if base_url is None and error.message.startswith("nothing answers"):
        return ServerError(f"{error.message}\nStart a server with `ixmodal serve`, or give --base-url.")
    if error.message.startswith("401"):
        return ServerError(f"{error.message}\nGive --api-key, or set OPENAI_API_KEY.")
    return error


class Conversation:
    """What was said so far, and the commands around it."""

    def __init__(self, server: Server, model: str, models: list[str], system: str | None = None) -> None:
        self.model = model
        self.system = system
        self.messages: list[dict[str, str]] = []
        self._server = server
        self._models = models
        self._commands: dict[str, Callable[[str], None]] = {
            "/help": lambda _: console.print(_HELP, markup=False, highlight=False),
            "/reset": self._reset,
            "/model": self._choose,
            "/system": self._set_system,
            "/save": self._save,
        }

    def run(self, said: Iterator[str]) -> None:
        """Answer lines until there are no more, or one says /quit."""
        for text in said:
            name, _, argument = text.strip().partition(" ")
            if name in ("/quit", "/exit"):
                return
            if name.startswith("/"):
                self._commands.get(name, self._unknown)(argument.strip())
            elif text.strip():
                try:
                    self.ask(text)
                except KeyboardInterrupt:  # before or after the answer; `show` heeds it meanwhile
                    console.print(f"({_NOTES['stopped']})", style="dim")

    def ask(self, text: str) -> None:
        """Send a message and show the answer as it comes. What fails is told and not kept."""
        asked = {"role": "user", "content": text}
        history = [{"role": "system", "content": self.system}] if self.system else []
        pieces = self._server.chat(self.model, [*history, *self.messages, asked])
        try:
            with closing(pieces):
                answer = show(pieces)
        except ServerError as error:
            console.print(f"[bold red]error:[/bold red] {error.message}", soft_wrap=True, highlight=False)
            return
        self.messages += [asked, {"role": "assistant", "content": answer}]

    def _reset(self, _: str) -> None:
        self.messages.clear()
        console.print("The conversation is forgotten.")

    def _choose(self, name: str) -> None:
        if not name:
            console.print(f"{self.model} answers; there are {', '.join(self._models)}", highlight=False)
        elif name in self._models:
            self.model = name
            console.print(f"{name} answers from now on.", highlight=False)
        else:
            console.print(f"There is no {name}; there are {', '.join(self._models)}", highlight=False, markup=False)

    def _set_system(self, text: str) -> None:
        if text:
            self.system = None if text == "-" else text
        console.print(f"system: {self.system or 'none'}", highlight=False, markup=False)

    def _save(self, name: str) -> None:
        if not name:
            console.print("Write /save FILE.")
            return
        path = Path(name).expanduser()
        history = [{"role": "system", "content": self.system}] if self.system else []
        text = json.dumps({"model": self.model, "messages": [*history, *self.messages]}, indent=2, ensure_ascii=False)
        try:
            path.write_text(text + "\n", "utf-8")
        except OSError as error:
            console.print(f"{path} can't be written: {error.strerror}", highlight=False, markup=False)
        else:
            console.print(f"{len(self.messages)} messages are in {path}", highlight=False, markup=False)

    def _unknown(self, _: str) -> None:
        console.print("There is no such command; /help lists them.")


def show(pieces: Iterable[Piece]) -> str:
    """Print an answer as it comes and return its text. Ctrl-C ends it where it is."""
    answer = _Answer()
    is_redrawn = console.is_terminal and not console.is_dumb_terminal
    try:
        if is_redrawn:
            with Live(console=console, refresh_per_second=12, vertical_overflow="visible") as live:
                for piece in pieces:
                    answer.add(piece)
                    live.update(answer.rendered())
        else:
            for piece in pieces:
                answer.add(piece)
                console.out(piece.text, end="", highlight=False)
                console.file.flush()
    except KeyboardInterrupt:
        answer.end = "stopped"
    finally:
        if not is_redrawn:
            console.out("")
    if note := _NOTES.get(answer.end or ""):
        console.print(f"({note})", style="dim")
    return answer.text


class _Answer:
    """What came so far."""

    def __init__(self) -> None:
        self.text = ""
        self.reasoning = ""
        self.end: str | None = None

    def add(self, piece: Piece) -> None:
        self.text += piece.text
        self.reasoning += piece.reasoning
        self.end = piece.finish_reason or self.end

    def rendered(self) -> RenderableType:
        parts: list[RenderableType] = []
        if self.reasoning:
            parts.append(Padding(Text(self.reasoning, style="dim italic"), (0, 0, 1, 2)))
        parts.append(Markdown(self.text) if self.text else Text("…", style="dim"))
        return Group(*parts)


def lines() -> Iterator[str]:
    """What is typed, with readline's editing and the history of earlier chats; ends at Ctrl-D."""
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        _remember()
    parts: list[str] = []
    while True:
        try:
            line = input("... " if parts else ">>> ") if is_terminal else _next_line()
        except KeyboardInterrupt:  # of what is being typed, not of the chat
            parts.clear()
            console.print()
            continue
        except EOFError:
            if is_terminal:
                console.print()
            return
        if line.endswith("\\"):
            parts.append(line[:-1])
            continue
        yield "\n".join([*parts, line])
        parts.clear()


def _next_line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


def _remember() -> None:
    try:
        import atexit
        import readline
    except ImportError:  # not on every platform
        return
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "ixmodal"
    history = state / "chat_history"
    readline.set_history_length(HISTORY_LINES)
    with suppress(OSError):
        state.mkdir(parents=True, exist_ok=True)
        history.touch(mode=0o600)
        readline.read_history_file(history)

    def keep() -> None:
        with suppress(OSError):
            readline.write_history_file(history)

    atexit.register(keep)
