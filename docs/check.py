"""Documentation that can drift is compared, not trusted: `python -m docs.check`, with `--write` to bring docs/cli.md up to date."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from kmem.encoder.presets import PREFIX, PRESETS
from kmem.encoder.profiles import GENERAL, shipped_profiles
from kmem.encoder.select import SELECTORS
from kmem.kbuild.corpora import CORPORA
from kmem.kbuild.rules import RULES
from kmem.kbuild.rules.config import PRESETS as RULE_PRESETS
from kmem.kstore.index.retrievers import HIDDEN, RETRIEVERS
from kmem.kstore.quant import QUANTISERS

ROOT = Path(__file__).parents[1]
CLI = ROOT / "docs" / "cli.md"
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted((ROOT / "docs").glob("*.md"))


def command_reference() -> str:
    """docs/cli.md as Typer writes it today."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "cli.md"
        command = [sys.executable, "-m", "typer", "kmem.cli.main", "utils", "docs", "--name", "kmem", "--output", str(page)]
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        return page.read_text()


def broken_links() -> list[str]:
    """Relative links that lead nowhere."""
    found = []
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            if not (page.parent / target).exists():
                found.append(f"{page.relative_to(ROOT)} links to {target}, which does not exist")
    return found


def registered_names() -> list[str]:
    """Whatever a user can name in an option; each has its row in the README."""
    prefixed = [*(f"corpus:{name}" for name in CORPORA), *(f"{PREFIX}{name}" for name in PRESETS)]
    return [*SELECTORS, *QUANTISERS, *GENERAL, *shipped_profiles(), *RETRIEVERS, HIDDEN, *RULE_PRESETS, *RULES, *prefixed]


def main() -> int:
    """0 when everything agrees."""
    reference = command_reference()
    if "--write" in sys.argv:
        CLI.write_text(reference)
    problems = broken_links()
    if not CLI.exists() or CLI.read_text() != reference:
        problems.append("docs/cli.md is not what the commands say: run make docs")
    readme = (ROOT / "README.md").read_text()
    commands = re.findall(r"^##+ `(kmem [\w ]+)`", reference, re.MULTILINE)
    problems += [f"README.md does not mention {command}" for command in commands if command not in readme]
    problems += [f"README.md does not mention {name}" for name in registered_names() if f"`{name}`" not in readme]
    problems += [f"{page.name} has a placeholder left" for page in PAGES if "@@" in page.read_text()]
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    return len(problems) > 0


if __name__ == "__main__":
    raise SystemExit(main())
