"""The program that runs Python code in a sandbox, saves what it displays, and says so.

Berth passes the text of this module to the Python of the sandbox; see `texts`. It imports nothing of Berth, and little
before it is needed: the time that takes is part of each command.
"""

import builtins
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from importlib.machinery import ModuleSpec
    from types import CodeType
    from typing import Any

FOLDER = "/mnt/data"
ONLY_AST = 0x400
"""The flag of `ast`, which is not imported for it alone."""
MAY_AWAIT = 0x2000
"""The flag of `ast` for `await` outside of functions."""
AWAITS = 0x80
"""The flag of code, as `inspect` has it, that has to be awaited."""
NAME = "<code>"
MAX_NAMES = 10_000
PYPLOT = "matplotlib.pyplot"
INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""
runners: "list[Any]" = []
"""What has the event loop of programs that await something outside of functions, once there was one."""


def compiled(source: str, name: str) -> "list[CodeType]":
    """Compile a program; its last statement apart from the rest if it is an expression."""
    # Files of some editors begin with this mark, which Python takes in files and not in texts.
    tree: Any = compile(source.removeprefix("\ufeff"), name, "exec", ONLY_AST | MAY_AWAIT, dont_inherit=True)
    last = []
    if tree.body and type(tree.body[-1]).__name__ == "Expr":
        import _ast  # noqa: PLC0415 - see the module's docstring

        expression = _ast.Expression(tree.body.pop().value)
        last = [compile(expression, name, "eval", MAY_AWAIT, dont_inherit=True)]
    return [compile(tree, name, "exec", MAY_AWAIT, dont_inherit=True), *last]


def value_of(source: str, name: str, namespace: "dict[str, Any]") -> object:
    """Run a program; return the value of its last expression, None if it does not end with one.

    If it awaits something outside of functions, as in notebooks, all of it runs in an event loop.
    """
    parts = compiled(source, name)
    if any(part.co_flags & AWAITS for part in parts):
        return finished(_value_in_loop(parts, namespace))
    value = None
    for part in parts:
        value = eval(part, namespace)  # noqa: S307 - the purpose of this program
    return value


async def _value_in_loop(parts: "list[CodeType]", namespace: "dict[str, Any]") -> object:
    value: Any = None
    for part in parts:
        value = eval(part, namespace)  # noqa: S307 - as above
        if part.co_flags & AWAITS:
            value = await value
    return value


def finished(coroutine: "Coroutine[Any, Any, object]") -> object:
    """Return the result of a coroutine, which runs in the event loop of this interpreter.

    It is the same loop for all programs, so what one of them made in it is of use to the next one.
    """
    import asyncio  # noqa: PLC0415 - see the module's docstring

    if not runners or runners[-1].get_loop().is_closed():
        runners[:] = [asyncio.Runner()]
    loop = runners[-1].get_loop()
    task = loop.create_task(coroutine)
    try:
        return loop.run_until_complete(task)
    finally:
        if not task.done():  # it was interrupted
            task.cancel()
            loop.run_until_complete(asyncio.wait([task]))
        elif not task.cancelled():
            task.exception()  # or it would be reported once more, as one that was never looked at


def main_namespace() -> "dict[str, Any]":
    """Return the variables of a new module `__main__`, which has `display` besides all that is built in."""
    builtins.display = display  # type: ignore[attr-defined] # as notebooks do
    module = type(sys)("__main__")
    sys.modules["__main__"] = module
    return module.__dict__


def show_error(error: BaseException, source: str, name: str) -> None:
    """Print an error with its traceback, without the steps before those of the program."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals is globals():
        trace = trace.tb_next
    of_program = trace
    while of_program is not None and of_program.tb_frame.f_code.co_filename != name:  # those of an event loop
        of_program = of_program.tb_next
    trace = of_program or trace
    error.with_traceback(trace)
    import traceback  # noqa: PLC0415

    if sys.excepthook is not sys.__excepthook__:
        try:
            sys.excepthook(type(error), error, trace)
        except Exception:  # noqa: BLE001 - of the code; Python does the same
            sys.stderr.write("Error in sys.excepthook:\n")
            traceback.print_exc()
            sys.stderr.write("\nOriginal exception was:\n")
        else:
            return
    import linecache  # noqa: PLC0415

    linecache.cache[name] = known_lines(source, name)
    traceback.print_exception(error)


def known_lines(source: str, name: str) -> "tuple[int, None, list[str], str]":
    """Return what `linecache` keeps of a program: its lines as Python counts them, which `splitlines` does not."""
    text = source.replace("\r\n", "\n").replace("\r", "\n")
    return len(source), None, [f"{line}\n" for line in text.split("\n")], name


class ShowFinder:
    """Finds `matplotlib.pyplot`, so that its `show` is that of this module, and no figure warns that it has no window.

    The other finders know where the module is. The program may have put finders of its own around this one.
    """

    is_asking = False

    def find_spec(self, name: str, *rest: object) -> "ModuleSpec | None":
        """Return how to load the module, None for all others."""
        if name != PYPLOT or self.is_asking:
            return None
        self.is_asking = True
        try:
            finders: list[Any] = list(sys.meta_path)
            spec = next((spec for finder in finders if (spec := finder.find_spec(name, *rest)) is not None), None)
        finally:
            self.is_asking = False
        if spec is not None:
            load = spec.loader.exec_module

            def exec_module(module: "Any") -> None:
                load(module)
                module.show = show
                import warnings  # noqa: PLC0415 - see the module's docstring

                warnings.filterwarnings("ignore", "FigureCanvasAgg is non-interactive")

            spec.loader.exec_module = exec_module
        return spec


shown: "list[str]" = []
"""The files of the figures that the program has shown so far."""


def show(*_: object, **__: object) -> None:
    """Save the figures that are open and close them, as notebooks do: what is drawn next is another figure."""
    shown.extend(_save_all(None))


def display(*values: object, **__: object) -> None:
    """Show values as notebooks do: save those that are pictures, and print the others."""
    for value in values:
        draw = _picture_of(value)
        saved = [] if draw is None else _saved(draw, value)
        shown.extend(saved)
        if not saved:
            sys.stdout.write(f"{value!r}\n")
        elif draw is _drawn and (pyplot := sys.modules.get(PYPLOT)):
            pyplot.close(value)  # or it would be displayed once more at the end


def save_pictures(value: object) -> "list[str]":
    """Save the figures that are open, and the picture that a value is; return the files, with those shown before."""
    saved = [*shown, *_save_all(value)]
    shown.clear()
    return saved


def _save_all(value: object) -> "list[str]":
    saved: list[str] = []
    try:
        for draw, picture in _pictures(value):
            saved.extend(_saved(draw, picture))
    except Exception as error:  # noqa: BLE001 - the code of others, which may fail in any way
        _say_unsaved(error)
    return saved


def _saved(draw: "Callable[[Any], bytes | None]", shown: object) -> "list[str]":
    """Save one picture if there is one; that it fails does not keep others from being saved."""
    try:
        picture = draw(shown)
        return [] if picture is None else [_save(picture)]
    except Exception as error:  # noqa: BLE001 - as above
        _say_unsaved(error)
        return []


def _say_unsaved(error: Exception) -> None:
    sys.stderr.write(f"a picture cannot be saved: {type(error).__name__}: {error}\n")


def _pictures(value: object) -> "Iterator[tuple[Callable[[Any], bytes | None], object]]":
    """Yield how to draw it, and what: figures that matplotlib has open, which are closed with that, and a value."""
    open_figures = []
    if pyplot := sys.modules.get(PYPLOT):
        open_figures = [pyplot.figure(number) for number in pyplot.get_fignums()]
        pyplot.close("all")
        for figure in open_figures:
            yield _drawn, figure
    draw = _picture_of(value)
    if draw is not None and not any(figure is value for figure in open_figures):
        yield draw, value


def _picture_of(value: object) -> "Callable[[Any], bytes | None] | None":
    """Return how to draw a value, None if it is no picture."""
    kinds = sys.modules.get("matplotlib.figure")
    if kinds is not None and isinstance(value, kinds.Figure):
        return _drawn
    return _own_picture if hasattr(type(value), "_repr_png_") else None


def _own_picture(value: "Any") -> "bytes | None":
    """Return the picture that an object has of itself, None if it has none."""
    picture = value._repr_png_()
    picture = picture[0] if isinstance(picture, tuple) else picture
    if isinstance(picture, str):  # as IPython allows it
        import base64  # noqa: PLC0415

        picture = base64.b64decode(picture)
    return None if picture is None else bytes(picture)


def _drawn(figure: "Any") -> bytes:
    import io  # noqa: PLC0415

    target = io.BytesIO()
    figure.savefig(target, format="png", bbox_inches="tight")
    return target.getvalue()


def _save(picture: bytes) -> str:
    for number in range(1, MAX_NAMES):
        name = f"figure-{number}.png"
        try:
            with open(f"{FOLDER}/{name}", "xb") as file:  # noqa: PTH123 - pathlib takes long to import
                file.write(picture)
        except FileExistsError:
            continue
        return name
    raise FileExistsError("there are too many figures")


def read_source(size: int) -> str:
    """Read a program of `size` bytes from the standard input, and nothing of what follows.

    `sys.stdin` would read ahead, and then the programs that this one starts would not get its input.
    """
    data = bytearray()
    while part := os.read(0, size - len(data)):
        data += part
    return data.decode()


def run_once(size: int, reports: int) -> None:
    """Run the program that is at the beginning of the standard input, `size` bytes; the rest is its input.

    What it displayed is reported when the program has come to its end; its threads may go on then.
    """
    source = read_source(size)
    sys.meta_path.insert(0, ShowFinder())
    value, code = None, 0
    try:
        value = value_of(source, NAME, main_namespace())
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - of the code
        show_error(error, source, NAME)
        code = INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
    finally:
        if saved := save_pictures(value):
            os.write(reports, ('{"displays": ["' + '", "'.join(saved) + '"]}\n').encode())
        if runners:
            runners[-1].close()
    if code:
        sys.exit(code)
