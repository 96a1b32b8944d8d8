"""The release check: is what pip installs whole? `make package` runs it; it takes a while.

It builds sdist and wheel and looks into them, and then makes one fresh environment after another
from the wheel, outside the checkout: without extras, with each extra alone, with the lowest
versions that pyproject.toml allows, and with the latest. Tests are those of the sdist.

PyTorch alone is held to the version of constraints.txt in all of them: another one is gigabytes,
and which build of it is right depends on the machine. So its lower bound is not checked here.

    python tests/package/check.py                       # everything
    python tests/package/check.py build onnx lowest     # these steps alone
"""

from __future__ import annotations

import argparse
import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: dict[str, list[str]] = {
    name: [one for one in wanted if not one.startswith(PROJECT["name"])]  # not another extra
    for name, wanted in PROJECT["optional-dependencies"].items()
}
TORCH = re.findall(r"^torch==.*$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)[0]
TOOLS = ["build", "check-wheel-contents", "twine"]
LARGEST = {".whl": 1e6, ".gz": 3e6}
"""Bytes: what is larger holds something that does not belong in it."""

SMOKE = {"tensorboard": ["tensorboard"], "hub": ["hub"], "dev": ["types"]}
"""What an extra is for, as arguments of smoke.py."""
TESTS = {  # and as tests
    "hub": ["tests/test_exporting.py", "-k", "hub"],
    "onnx": ["tests/test_exporting.py", "-k", "onnx_is_the_method"],
    "dev": ["tests/test_api.py", "tests/test_manifest.py"],
}
PYTEST = ["pytest", "pytest-timeout", "hypothesis"]


class PackageError(Exception):
    """A step did not come out as it should."""


def expect(condition: bool, message: str) -> None:
    if not condition:
        raise PackageError(message)


def call(*words: str | Path, at: Path) -> str:
    """Runs a command outside the checkout; its output. Raises PackageError, with the output."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    surroundings = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=at,
        env=surroundings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    command = " ".join(str(word) for word in words)
    expect(done.returncode == 0, f"{command}\nended with {done.returncode}:\n{done.stdout}")
    return done.stdout


class Environment:
    """A fresh virtual environment."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, clear=True, with_pip=True)
        self.folder, self.python = folder, folder / "bin" / "python"

    def install(self, *requirements: str | Path) -> None:
        call(self.python, "-m", "pip", "install", "--quiet", *requirements, at=self.folder)

    def run(self, *words: str | Path, at: Path | None = None) -> str:
        return call(self.python, *words, at=at or self.folder)

    def versions(self, requirements: list[str]) -> str:
        """What is installed of these, as one line."""
        names = [re.split(r"[\[><=]", one)[0] for one in requirements]
        code = "import sys; from importlib.metadata import version as v;"
        code += "print(*(f'{n} {v(n)}' for n in sys.argv[1:]), sep=', ')"
        return self.run("-c", code, *names).strip()


class Check:
    """The steps, in one work folder. source: the unpacked sdist."""

    def __init__(self, work: Path, tests: list[str]) -> None:
        self.work, self.tests, self.dist = work, tests, work / "dist"
        self.source, self.wheel = work, work

    def build(self) -> None:
        """sdist, wheel from it, and a look into both."""
        tools = Environment(self.work / "tools")
        tools.install(*TOOLS)
        tools.run("-m", "build", "--outdir", self.dist, ROOT)
        (sdist,), (self.wheel,) = self.dist.glob("*.tar.gz"), self.dist.glob("*.whl")
        tools.run("-m", "twine", "check", "--strict", sdist, self.wheel)
        tools.run("-m", "check_wheel_contents", self.wheel)
        with tarfile.open(sdist) as archive:
            archive.extractall(self.work / "sdist", filter="data")
        (self.source,) = (self.work / "sdist").iterdir()
        for name in ("tests/conftest.py", "docs/index.md", "mkdocs.yml", "Makefile", "LICENSE"):
            expect((self.source / name).is_file(), f"the sdist lacks {name}")
        with zipfile.ZipFile(self.wheel) as archive:
            names = archive.namelist()
            about = next(name for name in names if name.endswith(".dist-info/METADATA"))
            page = email.message_from_bytes(archive.read(about))
        kinds = {Path(n).suffix for n in names if n.startswith("marey/")} - {".py", ".typed"}
        tops = {name.partition("/")[0] for name in names}
        expect("marey/py.typed" in names, "the wheel lacks py.typed")
        expect(any(name.endswith("licenses/LICENSE") for name in names), "it lacks the licence")
        expect(not kinds, f"the wheel holds {kinds}")
        expect(tops == {"marey", about.partition("/")[0]}, f"the wheel installs {tops}")
        have = {p.relative_to(ROOT / "src").as_posix() for p in (ROOT / "src").rglob("*.py")}
        expect(have <= set(names), f"the wheel lacks {have - set(names)}")
        text = str(page.get_payload())
        dead = re.findall(r"\]\((?!https?:|#)[^)]*\)", text)
        expect("# Marey" in text and not dead, f"links that lead nowhere on the index: {dead}")
        for path in (sdist, self.wheel):
            size = path.stat().st_size
            expect(size < LARGEST[path.suffix], f"{path.name} is as large as {size} bytes")
            print(f"  {path.name}: {size / 1e3:.0f} kB")
        shutil.rmtree(tools.folder)

    def bare(self) -> None:
        """No extra: what the README shows first, and what is missing is said in one sentence."""
        made = self.environment("bare")
        self.smoke(made, "bare", "bare")

    def extra(self, name: str) -> None:
        """An extra alone."""
        wanted = EXTRAS[name]
        made = self.environment(name, f"{self.wheel}[{name}]")
        self.smoke(made, name, *SMOKE.get(name, ()))
        if name in TESTS:
            if name != "dev":
                made.install(*PYTEST)
            print(f"  {self.pytest(made, *TESTS[name])}")
        if name == "docs":
            made.run("-m", "mkdocs", "build", "--strict", "--quiet", at=self.source)
        print(f"  {made.versions(wanted)}")

    def lowest(self) -> None:
        """Every package that is named, at the lower bound that is given for it."""
        least = PROJECT["requires-python"].removeprefix(">=")
        here = "{}.{}".format(*sys.version_info)
        expect(here == least, f"lower bounds hold for Python {least}; this is {here}")
        bounds = [*PROJECT["dependencies"], *(one for each in EXTRAS.values() for one in each)]
        exact = [one.replace(">=", "==") for one in bounds if not one.startswith("torch>=")]
        # what these need in turn is the newest, and warns of what they still do
        self.whole("lowest", [re.sub(r"\[.*\]", "", one) for one in exact], "default")

    def latest(self) -> None:
        """Everything as new as it comes."""
        self.whole("latest", [], "error")

    def whole(self, name: str, versions: list[str], warnings: str) -> None:
        file = self.work / f"{name}.txt"
        file.write_text("\n".join([TORCH, *versions]), "utf-8")
        made = self.environment(
            name, f"{self.wheel}[{','.join(EXTRAS)}]", "--constraint", str(file)
        )
        self.smoke(made, name, *(word for words in SMOKE.values() for word in words))
        print(f"  {self.pytest(made, '-o', f'filterwarnings={warnings}', *self.tests)}")
        print(f"  {made.versions(PROJECT['dependencies'])}")

    def environment(self, name: str, *more: str) -> Environment:
        made = Environment(self.work / f"env-{name}")
        made.install(TORCH, *(more or [str(self.wheel)]))
        made.run("-m", "pip", "check")
        return made

    def smoke(self, made: Environment, name: str, *words: str) -> None:
        desk = self.work / f"desk-{name}"
        desk.mkdir()
        made.run("-I", self.source / "tests" / "package" / "smoke.py", *words, at=desk)

    def pytest(self, made: Environment, *words: str) -> str:
        """Tests of the sdist on the wheel; pytest's last line."""
        options = ("-p", "no:cacheprovider", "-rsf", *words)
        return made.run("-m", "pytest", *options, at=self.source).strip().splitlines()[-1]


def main() -> None:
    steps = ["build", "bare", *EXTRAS, "lowest", "latest"]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("steps", nargs="*", help=f"of {', '.join(steps)}; by default all")
    parser.add_argument("--tests", nargs="+", default=["tests"], help="of `lowest` and `latest`")
    given = parser.parse_args()
    unknown = sorted(set(given.steps) - set(steps))
    if unknown:
        parser.error(f"there is no step {', '.join(unknown)}")
    failed = []
    with tempfile.TemporaryDirectory(prefix="marey-package-") as work:
        check = Check(Path(work), given.tests)
        for step in ["build", *(one for one in given.steps or steps if one != "build")]:
            started = time.monotonic()
            print(f"{step}: ...", flush=True)
            try:
                check.extra(step) if step in EXTRAS else getattr(check, step)()
                print(f"{step}: good, {time.monotonic() - started:.0f} s", flush=True)
            except PackageError as error:
                print(f"{step}: FAILED\n{error}", flush=True)
                failed.append(step)
                if step == "build":
                    break
            finally:
                shutil.rmtree(Path(work) / f"env-{step}", ignore_errors=True)
    if failed:
        sys.exit(f"The package is not good: {', '.join(failed)}.")
    print("The package is good.")


if __name__ == "__main__":
    main()
