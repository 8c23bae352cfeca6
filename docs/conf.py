"""How Sphinx makes a site of these pages: the same Markdown that a git host shows, and nothing fetched."""

import re
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent

project = "Magnesium CDS"
author = "the authors of Magnesium CDS"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
html_theme = "furo"
html_title = "Magnesium CDS"
html_use_index = False
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_show_sphinx = False
html_last_updated_fmt = None
templates_path: list[str] = []
smartquotes = False  # what is shown is what is typed
# Anchors as git hosts make them, so that one link serves both.
myst_heading_anchors = 4
myst_enable_extensions: list[str] = []
nitpicky = True
# A language that Pygments cannot read would be a warning; these are what a console shows.
highlight_language = "none"

LINK = re.compile(r"(?<!!)\[([^\]\n]+)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"(^ *```.*?^ *``` *$)", re.MULTILINE | re.DOTALL)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", _prepare)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _prepare(app: Sphinx, name: str, source: list[str]) -> None:
    """Makes of a page for a git host one for Sphinx: where links lead, and what stands below what."""
    text = source[0]
    if name == "index":
        text += "".join(
            _toctree(part.partition("\n")[0].strip(), [target[:-3] for _, target, _ in LINK.findall(part)])
            for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]
        )
    if name == "operate" and any(Path(app.srcdir, "operate").glob("*.md")):
        text += _toctree("", ["operate/*"])
    parts = FENCE.split(text)
    parts[::2] = [
        LINK.sub(lambda link: _link(Path(app.srcdir, f"{name}.md").parent, link), part) for part in parts[::2]
    ]
    source[0] = "".join(parts)


def _toctree(caption: str, pages: list[str]) -> str:
    above = [f":caption: {caption}"] if caption else []
    return "\n".join(["", "", "```{toctree}", ":hidden:", ":glob:", *above, "", *pages, "```", ""])


def _link(folder: Path, link: re.Match[str]) -> str:
    """A link out of the docs to a file becomes a download; to a page or a folder, or to what an installed package has
    not, it becomes words."""
    words, target, _ = link.groups()
    file = (folder / target).resolve()
    inside = file.is_relative_to(HERE)
    missing = not file.exists() and not (HERE.parent / "pyproject.toml").exists()
    if not inside and (missing or file.is_dir() or (file.suffix == ".md" and file.exists())):
        return words if target.endswith(words) else f"{words} (`{target.lstrip('./')}` in the sources)"
    return link.group()
