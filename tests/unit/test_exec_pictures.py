"""Pictures that code displays, with and without a session. It runs without a sandbox."""

import pytest

from berth.v1.container_exec_service_pb2 import CreateContainerExecRequest, ExecCode
from berth.v1.exec_pb2 import Exec
from support.servers.execs import OURS, ExecWorld, box, content, of
from support.servers.hosted import Kept


async def run(world: ExecWorld, container_id: str, source: str, session: str | None = "default") -> Exec:
    """Run a program, in a session if one is named, and return its result."""
    code = ExecCode(language="python", source=source, session=session)
    return await world.run(OURS, CreateContainerExecRequest(container_id=container_id, code=code))


async def test_pictures_are_displayed(kept: Kept, world: ExecWorld) -> None:
    """The picture of the last expression is a file of the container that the result names, with or without session."""
    container_id = await box(kept)
    source = "class Picture:\n    def _repr_png_(self): return b'PNG'\nPicture()"
    for session, name in ((None, "figure-1.png"), ("default", "figure-2.png")):
        result = await run(world, container_id, source, session)
        (shown,) = result.displays
        assert (shown.mime_type, [(file.path, file.id) for file in result.files]) == (
            "image/png",
            [(f"/mnt/data/{name}", shown.file_id)],
        )
        assert await content(kept, container_id, shown.file_id) == b"PNG"
        stored = await world.execs.retrieve_container_exec(OURS, of(result))
        assert stored.displays == result.displays


@pytest.mark.parametrize("session", [None, "default"])
async def test_a_figure_that_cannot_be_drawn_hides_no_other(session: str | None, kept: Kept, world: ExecWorld) -> None:
    """The other figures that are open are displayed, and the program has the reason in its errors."""
    source = (
        "import sys, types\n"
        "class Figure:\n"
        "    def __init__(self, data): self.data = data\n"
        "    def savefig(self, target, **_): target.write(self.data)\n"
        "opened = {1: Figure(None), 2: Figure(b'PNG'), 3: Figure(1), 4: Figure(b'GIF')}\n"
        "sys.modules['matplotlib.pyplot'] = types.SimpleNamespace(\n"
        "    figure=opened.get, get_fignums=lambda: list(opened), close=lambda _: opened.clear())"
    )
    result = await run(world, await box(kept), source, session)
    contents = [await content(kept, result.container_id, shown.file_id) for shown in result.displays]
    assert (contents, result.outcome.exit_code) == ([b"PNG", b"GIF"], 0)
    assert result.stderr.count("a picture cannot be saved: TypeError") == 2


@pytest.mark.parametrize("session", [None, "default"])
async def test_display_shows_values(session: str | None, kept: Kept, world: ExecWorld) -> None:
    """Pictures are displayed in their order, figures once, and what is no picture is printed."""
    source = (
        "import sys, types\n"
        "class Figure:\n"
        "    def savefig(self, target, **_): target.write(b'GIF')\n"
        "class Picture:\n"
        "    def _repr_png_(self): return b'PNG'\n"
        "class Broken:\n"
        "    def _repr_png_(self): return 1 / 0\n"
        "    def __repr__(self): return 'broken'\n"
        "opened = {1: Figure(), 2: Figure()}\n"
        "def close(it): [opened.pop(key) for key, one in [*opened.items()] if it in (one, 'all')]\n"
        "name = 'mat' + 'plotlib'\n"
        "sys.modules[name + '.figure'] = types.SimpleNamespace(Figure=Figure)\n"
        "sys.modules[name + '.pyplot'] = types.SimpleNamespace(\n"
        "    figure=opened.get, get_fignums=lambda: list(opened), close=close)\n"
        "display(Picture(), 'text', opened[2])\ndisplay(Broken(), display_id='x')\ndisplay()\nPicture()"
    )
    result = await run(world, await box(kept), source, session)
    contents = [await content(kept, result.container_id, one.file_id) for one in result.displays]
    assert contents == [b"PNG", b"GIF", b"GIF", b"PNG"], result.stderr
    assert (result.outcome.exit_code, result.stderr.count("a picture cannot be saved: ZeroDivisionError")) == (0, 1)
    printed = ["'text'", "broken"]
    assert result.stdout.splitlines()[:2] == printed
    assert len(result.stdout.splitlines()) == len(printed) + (session is not None)


AROUND = """
class Around:
    def __init__(self, finder): self.finder = finder
    def find_spec(self, *names): return self.finder.find_spec(*names)
sys.meta_path = [*map(Around, sys.meta_path)]
"""


@pytest.mark.parametrize("session", [None, "default"])
@pytest.mark.parametrize(
    "before", ["", "importlib.util.find_spec(name)", "importlib.reload(importlib.import_module(name))", AROUND]
)
async def test_what_is_drawn_after_show_is_another_figure(
    before: str, session: str | None, kept: Kept, world: ExecWorld
) -> None:
    """Each `show` displays the figures that are open and closes them; those that are left are displayed at the end."""
    fake = (
        "class Figure:\n"
        "    def __init__(self, data): self.data = data\n"
        "    def savefig(self, target, **_): target.write(self.data)\n"
        "opened = {}\n"
        "figure, get_fignums, close, show = opened.get, lambda: list(opened), lambda _: opened.clear(), print\n"
        "def plot(data): opened[1] = Figure(opened[1].data + data if opened else data)\n"
    )
    source = (
        "import importlib.util, os, sys\nfolder = 'mat' + 'plotlib'\nname = folder + '.pyplot'\nos.mkdir(folder)\n"
        f"open(folder + '/pyplot.py', 'w').write({fake!r})\nsys.path.insert(0, '')\n"
        f"{before}\nplt = importlib.import_module(name)\n"
        "plt.show()\nplt.plot(b'P')\nplt.plot(b'NG')\nplt.show()\nplt.plot(b'GIF')\nplt.show(block=False)\nplt.plot(b'J')"
    )
    container_id = await box(kept)
    for code, expected in ((source, [b"PNG", b"GIF", b"J"]), ("1", [])):
        result = await run(world, container_id, code, session)
        assert [await content(kept, container_id, one.file_id) for one in result.displays] == expected, result.stderr
        assert (result.outcome.exit_code, result.stderr) == (0, "")


async def test_what_an_interrupted_program_has_shown_is_its_own(kept: Kept, world: ExecWorld) -> None:
    """Its figures are displayed by it, and not by the next program."""
    container_id = await box(kept)
    await run(world, container_id, "import sys\nshown = sys._getframe(2).f_globals['shown']")
    source = "open('p.png', 'wb').write(b'PNG')\nshown.append('p.png')\nraise KeyboardInterrupt"
    result = await run(world, container_id, source)
    assert [await content(kept, container_id, one.file_id) for one in result.displays] == [b"PNG"], result.stderr
    assert not (await run(world, container_id, "open('p.png', 'wb').write(b'new')")).displays


async def test_figures_of_an_interrupted_program_are_not_those_of_the_next(kept: Kept, world: ExecWorld) -> None:
    """They are closed when the next program begins, which displays its own alone."""
    source = (
        "import sys, types\n"
        "opened = {1: 'a figure'}\n"
        "sys.modules['matplotlib.pyplot'] = types.SimpleNamespace(\n"
        "    figure=opened.get, get_fignums=lambda: list(opened), close=lambda _: opened.clear())\n"
        "raise KeyboardInterrupt"
    )
    container_id = await box(kept)
    assert (await run(world, container_id, source)).outcome.exit_code == 130
    second = await run(world, container_id, "opened")
    assert (second.stdout, second.stderr, list(second.displays)) == ("{}\n", "", [])
