"""Pages of the site that are made, not written: those of files outside docs/, and the API
reference. A hook of mkdocs.

mkdocs serve                the site, at http://127.0.0.1:8000
mkdocs build --strict       the same in site/, where any warning is an error
"""

import ast
import logging
import pathlib
import posixpath
import re

from mkdocs.structure.files import File
from pygments.formatters import HtmlFormatter

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = "gmeta_tf"
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "docker/README.md": "docker.md",
}  # file -> page
COLOURS = "css/code.css"
COMMANDS = "cli"  # documented by --help
LINK = re.compile(r"\[(?P<text>[^\[\]]*)\]\((?P<target>[^)\s#:]+)(?P<anchor>#[^)\s]*)?\)")
PRIVATE = re.compile(r"\b_[a-z]\w*")
log = logging.getLogger("mkdocs.plugins.site_pages")


def on_config(config):
    """Adds the API reference to the navigation, and the colours of code."""
    config.nav.append({"API": [{package: page_of(package)} for package in modules()]})
    config.extra_css.append(COLOURS)
    return config


def on_files(files, config):
    """Adds the pages that are made, and the colours of code."""
    files.append(
        File.generated(config, COLOURS, content=HtmlFormatter().get_style_defs(".highlight"))
    )
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    for package, listed in modules().items():
        files.append(File.generated(config, page_of(package), content=reference(package, listed)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns links that lead out of docs/ into links within the site."""
    page_uri = page.file.src_uri
    source = {made: written for written, made in PAGES.items()}.get(page_uri, f"docs/{page_uri}")
    return LINK.sub(lambda link: site_link(link, source, page_uri), markdown)


def on_page_content(html, page, config, files):
    """Warns of private names in the API reference."""
    found = (
        sorted(set(PRIVATE.findall(re.sub("<[^>]*>", " ", html))))
        if page.file.src_uri.startswith("api/")
        else []
    )
    if found:
        log.warning(
            f"{page.file.src_uri} must name nothing private. Received: {found}. Mend the "
            "docstrings or defaults that do."
        )
    return html


def modules() -> dict[str, list[str]]:
    """The public modules of each package, those of packages within it included."""
    found: dict[str, list[str]] = {PACKAGE: []}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[1] != COMMANDS and not any(part.startswith("_") for part in parts):
            found.setdefault(".".join(parts[:2][: len(parts) - 1]), []).append(".".join(parts))
    return found


def page_of(package: str) -> str:
    """The page of a package."""
    return f"api/{package.rpartition('.')[2]}.md"


def reference(package: str, listed: list[str]) -> str:
    """The API reference of a package: what it exports, then each of its modules."""
    init = ast.parse((ROOT / package.replace(".", "/") / "__init__.py").read_text())
    imports = [
        (node.module, name.name)
        for node in init.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    ]
    exports = [
        f"- `{name}`: [{module}.{name}][]" for module, name in imports if not name.startswith("_")
    ]
    return "\n".join(
        [
            f"# {package}\n\n{ast.get_docstring(init)}\n",
            *exports,
            *(f"\n::: {module}" for module in listed),
        ]
    )


def site_link(link: re.Match, source: str, page: str) -> str:
    """A Markdown link of a file of the repository, as it must be on a page of the site.

    A link to a module or package leads to its reference. Of one to another file outside docs/ the
    text is left.

    Args:
      link: match of `LINK`.
      source: path of the file in the repository.
      page: path of its page.
    """
    text, target, anchor = (
        link["text"],
        posixpath.normpath(posixpath.join(posixpath.dirname(source), link["target"])),
        link["anchor"] or "",
    )
    module = target.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    package = next(
        (package for package, listed in modules().items() if module in [package, *listed]), None
    )
    if target.startswith("docs/"):
        to = target.removeprefix("docs/") + anchor
    elif target in PAGES:
        to = PAGES[target] + anchor
    elif package:
        to = page_of(package) + (f"#{module}" if module != package else "")
    elif (ROOT / target).exists():
        return text
    else:
        return link[0]  # of which mkdocs warns
    return f"[{text}]({posixpath.relpath(to, posixpath.dirname(page) or '.')})"
