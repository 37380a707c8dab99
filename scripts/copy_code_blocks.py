"""Copy the code blocks of the English pages to the Korean ones, in order.

    python scripts/copy_code_blocks.py

A Korean page has the blocks of its English page, so that its code cannot differ. After a change of
an English block, run this script; a page with another number of blocks is an error.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(?:.*?)^```$", re.DOTALL | re.MULTILINE)


def pages() -> list[tuple[Path, Path]]:
    """Return each Korean page with its English page."""
    korean = sorted((ROOT / "docs/ko").rglob("*.md"))
    pairs = [(page, ROOT / "docs" / page.relative_to(ROOT / "docs/ko")) for page in korean]
    return [(ROOT / "README.ko.md", ROOT / "README.md"), *pairs]


def main() -> None:
    """Copy the blocks of all pages."""
    for korean, english in pages():
        copied = BLOCK.findall(english.read_text(encoding="utf-8"))
        parts = re.split(
            f"({BLOCK.pattern})", korean.read_text(encoding="utf-8"), flags=BLOCK.flags
        )
        texts, places = parts[::2], len(parts) // 2
        if len(copied) != places:
            sys.exit(f"{korean}: {places} blocks, and {len(copied)} in {english}")
        merged = [text for pair in zip(texts, [*copied, ""], strict=True) for text in pair]
        korean.write_text("".join(merged), encoding="utf-8")


if __name__ == "__main__":
    main()
