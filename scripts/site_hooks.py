"""Hooks of the documentation site: what `mkdocs.yml` cannot express.

The pages are written for GitHub, with relative links to any file of the repository. On the site,
links to files outside of `docs/` lead to the repository, and some pages of its root are copied.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
# Pages of the repository's root, and their names on the site.
ROOT_PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security-policy.md",
}
# What a search shows first: guides, then pages written by hand, then the docstrings.
_BOOSTS = {"tutorials/": 4, "how-to/": 4, "ko/": 4, "reference/python": 0.25, "changelog": 0.25}
_FENCED = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(\]\()(?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Append the pages that the navigation does not list to its section "Reference"."""
    listed = set(_pages_of(config.nav))
    docs = Path(config.docs_dir)
    pages = {page.relative_to(docs).as_posix() for page in docs.rglob("*.md")}
    pages |= {name for source, name in ROOT_PAGES.items() if (ROOT / source).exists()}
    reference = next(part["Reference"] for part in config.nav or [] if "Reference" in part)
    reference.extend(sorted(pages - listed))
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the repository's root."""
    for source, name in ROOT_PAGES.items():
        if (ROOT / source).exists():
            text = (ROOT / source).read_text(encoding="utf-8")
            files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - mkdocs passes all by name
    """Replace the links to files outside of `docs/`, and set the rank of the page in a search."""
    name = page.file.src_uri
    boost = next((rank for start, rank in _BOOSTS.items() if name.startswith(start)), 1)
    page.meta["search"] = {"boost": boost}
    origin = {site: source for source, site in ROOT_PAGES.items()}.get(name, f"docs/{name}")

    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(origin), match[2]))
        if target in ROOT_PAGES:
            target = f"docs/{ROOT_PAGES[target]}"
        if target.startswith("docs/"):
            folder = posixpath.dirname(f"docs/{name}")
            return f"{match[1]}{posixpath.relpath(target, folder)}{match[3] or ''})"
        return f"{match[1]}{config.repo_url}/blob/main/{target}{match[3] or ''})"

    parts = _FENCED.split(markdown)
    return "".join(part if part.startswith("```") else _LINK.sub(link, part) for part in parts)


def on_post_page(output: str, *, page: Page, config: MkDocsConfig) -> str:  # noqa: ARG001 - as above
    """Set the language of the Korean pages, for screen readers and browsers."""
    if page.file.src_uri.startswith("ko/"):
        return output.replace('<html lang="en"', '<html lang="ko"', 1)
    return output


def _pages_of(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    values = nav.values() if isinstance(nav, dict) else nav
    return [page for value in values for page in _pages_of(value)]
