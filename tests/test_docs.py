"""What the documentation shows is run on a tiny world; what it names must exist.

Every page has a desk of its own with the files that the pages speak of: `videos/`, `labels.csv`, a
run of frames, a run of clips. Pages are shown as a reader sees them; what makes them quick here is
that recipes have small networks and trainings two steps. Code that cannot run here says so in a
comment before it: `<!-- not run: why -->` or `<!-- needs: package -->`.
"""

from __future__ import annotations

import ast
import dataclasses
import doctest
import importlib.util
import re
import runpy
import shlex
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import marey
from marey import cli, training
from marey.config import ClipEncoderConfig, Recipe
from marey.manifest import Entry, Manifest
from marey.recipes import RECIPES

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
TEXT = {page: page.read_text("utf-8") for page in PAGES}
FENCE = re.compile(r"^(?:<!-- (.*) -->\n)?```(\w*)\n((?:.*\n)*?)```$", re.MULTILINE)
CODE = re.compile(r"`([^`\n]+)`")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Block:
    """Code of a page. mark: the comment before it.  line: where it begins."""

    mark: str
    language: str
    text: str
    line: int

    @property
    def runs(self) -> bool:
        kind, _, what = self.mark.partition(": ")
        return kind != "not run" and (kind != "needs" or importlib.util.find_spec(what) is not None)

    @property
    def commands(self) -> list[list[str]]:
        """The words of each line of a shell block, without comments."""
        if self.language != "sh":
            return []
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks(page: Path) -> list[Block]:
    text = TEXT[page]
    return [
        Block(found[1] or "", found[2], found[3], text.count("\n", 0, found.start(3)))
        for found in FENCE.finditer(text)
    ]


def quick(recipe: Recipe) -> Recipe:
    """The same method and settings of the same kind on a network that takes no time."""
    together, copies = min(recipe.data.together, 2), min(recipe.data.copies, 1)
    data = replace(recipe.data, videos=2, together=together, copies=copies, shortest=1, workers=0)
    if isinstance(recipe.encoder, ClipEncoderConfig):
        small = {"backbone": "r2plus1d_small", "size": 48, "hidden": 32, "dimension": 16}
        clip = {"length": 8, "stride": 1, "window": 4, "queue": 64}
    else:
        small = {"size": 32, "hidden": 32, "width": 32, "layers": 1, "heads": 2, "dimension": 16}
        clip = {"frames": 16}
    encoder = replace(recipe.encoder, **small)
    return replace(recipe, encoder=encoder, method=replace(recipe.method, **clip), data=data)


@pytest.fixture(scope="module")
def quickly() -> pytest.MonkeyPatch:
    with pytest.MonkeyPatch.context() as patch:
        for key, recipe in RECIPES.items():
            patch.setitem(RECIPES, key, lambda recipe=recipe: quick(recipe()))
        patch.setattr(training, "_steps", lambda recipe, corpus, world: 2)
        yield patch


@pytest.fixture(scope="module")
def template(world: Path, quickly: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory):
    """Videos, their labels, a run of each kind, and a data set, under the names of the pages."""
    desk = tmp_path_factory.mktemp("desk")
    (desk / "videos").mkdir()
    corpus = Manifest.read(world)
    entries: list[Entry] = []
    for action in corpus.actions():
        for split, count in (("train", 3), ("test", 2)):
            chosen = corpus.select(split=split, action=action).entries[:count]
            for i, entry in enumerate(chosen):
                path = desk / "videos" / f"{split}-{action}-{i}.mp4"
                path.symlink_to(entry.path.resolve())
                entries.append(replace(entry, path=path))
    Manifest(tuple(entries)).write(desk / "labels.csv")
    spare = corpus.select(split="test", action="squat_press").entries[2:4]
    for names, entry in zip((("a", "rep"), ("b", "session")), spare, strict=True):
        for stem in names:
            (desk / f"{stem}.mp4").symlink_to(entry.path.resolve())
        (desk / "videos" / f"{names[0]}.mp4").symlink_to(entry.path.resolve())
    for part, entry in zip(("train", "test"), spare, strict=True):
        clip = desk / "UCF101" / "UCF-101" / "Squat" / f"v_Squat_{part}.mp4"
        clip.parent.mkdir(parents=True, exist_ok=True)
        clip.symlink_to(entry.path.resolve())
        listed = desk / "UCF101" / "ucfTrainTestlist" / f"{part}list01.txt"
        listed.parent.mkdir(exist_ok=True)
        listed.write_text(f"Squat/{clip.stem}.avi 1\n")
    training.train(desk / "videos", desk / "run")
    training.train(desk / "videos", desk / "clips", "mcl")
    cli.main(["embed", str(desk / "run"), str(desk / "videos"), "--out", str(desk / "emb.parquet")])
    return desk


@pytest.fixture
def desk(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a copy of the template: only its table is rewritten by pages."""
    for path in template.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "emb.parquet").unlink()
    shutil.copy(template / "emb.parquet", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


RUNNABLE = [
    page
    for page in PAGES
    if any(b.language in ("python", "pycon") or any(c[0] == "marey" for c in b.commands)
           for b in blocks(page) if not b.mark.startswith("not run"))
]  # fmt: skip


@pytest.mark.parametrize("page", RUNNABLE, ids=name)
def test_the_code_of_a_page_runs(page: Path, desk: Path) -> None:
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks(page):
        if not block.runs:
            continue
        for words in block.commands:
            if words[0] == "marey":
                cli.main(words[1:])
        if block.language == "python":
            # line numbers as in the page, for tracebacks
            exec(compile("\n" * block.line + block.text, page, "exec"), names)
        elif block.language == "pycon":
            example = doctest.DocTestParser().get_doctest(
                block.text, names, page.name, str(page), block.line
            )
            assert doctest.DocTestRunner(verbose=False).run(example).failed == 0


def marey_words(words: list[str]) -> list[str]:
    """The words after `marey` of a command, also of one that torchrun starts; else none."""
    if words[0] == "torchrun" and "marey" in words:
        words = words[words.index("marey") :]
    return words[1:] if words[0] == "marey" else []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_of_a_page_is_understood(page: Path) -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    shown = [words for block in blocks(page) for words in block.commands]
    for words in (*shown, *(code.split() for code in CODE.findall(TEXT[page]))):
        if words[0] == "make" and len(words) > 1:
            assert words[1] in targets, words
        for command in marey_words(words)[:1]:
            assert command in cli.COMMANDS or not re.fullmatch("[a-z]+", command), words
    for words in map(marey_words, shown):
        if words and words[0] in cli.COMMANDS:
            cli._parse(words[0], words[1:])  # exits where a setting does not exist


def test_settings_that_are_named_exist() -> None:
    known = {"help", "version", "nproc_per_node", "nnodes"}
    for command in (*cli.COMMANDS.values(), cli.Precompute):
        known |= {field.name for field in dataclasses.fields(command)}
    for make in RECIPES.values():
        recipe = make()
        for field in dataclasses.fields(recipe):
            value = getattr(recipe, field.name)
            known.add(field.name)
            if dataclasses.is_dataclass(value):
                known |= {f"{field.name}.{inner.name}" for inner in dataclasses.fields(value)}
    for page in PAGES:
        for code in CODE.findall(TEXT[page]):
            if code.startswith(("--", "marey ", "torchrun ")):
                flags = {f.replace("-", "_") for f in re.findall(r"--([a-z][\w.-]*)", code)}
                assert flags <= known, (name(page), code)


def test_pages_speak_of_every_command_and_recipe() -> None:
    text = "\n".join(text for page, text in TEXT.items() if page.name != "README.md")
    assert [c for c in cli.COMMANDS if f"marey {c}" not in text] == []
    assert [r for r in RECIPES if f"`{r}`" not in text] == []


def test_the_reference_holds_every_export() -> None:
    shown = re.findall(r"^::: (\S+)$", TEXT[ROOT / "docs/reference/python.md"], re.MULTILINE)
    for export in marey.__all__:
        value = getattr(marey, export)
        assert {value.__module__, f"{value.__module__}.{export}"} & set(shown), export


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_and_files_exist(page: Path) -> None:
    text = FENCE.sub("", TEXT[page])
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:|#", target):
            assert (page.parent / target.partition("#")[0]).exists(), target
    for target in re.findall(r"(?<![\w/])(?:benchmarks|examples)/\w+\.py", TEXT[page]):
        assert (ROOT / target).is_file(), target


ARGUMENTS = {
    "align_two": "videos/ videos/a.mp4 videos/b.mp4",
    "find_moment": "emb.parquet a.mp4 1.5",
    "phases_from_few": "run labels.csv",
    "progress": "run labels.csv squat_press a.mp4",
    "retrieve_clips": "videos/ videos/a.mp4",
}
SAYS = {
    "align_two": "s of videos/b.mp4",
    "find_moment": "s of b.mp4",
    "phases_from_few": "squat_press, clock: ",
    "progress": "  0.00 s  ",
    "retrieve_clips": "videos/a.mp4 from 0.00 s on moves like",
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run(
    example: Path,
    desk: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = example.read_text("utf-8")
    assert f"python examples/{example.name} " in (ast.get_docstring(ast.parse(source)) or "")
    assert len(source.splitlines()) < 40
    monkeypatch.setattr("sys.argv", [str(example), *ARGUMENTS[example.stem].split()])
    runpy.run_path(str(example), run_name="__main__")
    assert SAYS[example.stem] in capsys.readouterr().out
