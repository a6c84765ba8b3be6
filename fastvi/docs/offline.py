"""Check that pages load nothing that does not lie beside them: the site opens from the disk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# attributes whose address a browser fetches by itself, whatever the element
_LOADED = ("src", "srcset", "poster", "data", "background")
# kinds of <link> that lead somewhere and are not fetched
_POINTERS = {"alternate", "author", "canonical", "help", "index", "license", "next", "prev", "search"}
_IN_STYLE = re.compile(r"""url\(\s*['"]?([^'")]+)|@import\s+['"]([^'"]+)""")


class _Loaded(HTMLParser):
    """Addresses that a page makes a browser load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_style = tag == "style"
        given = {name: value or "" for name, value in attrs}
        for name in _LOADED:
            # of several pictures, "a.png 1x, b.png 2x"
            parts = given.get(name, "").split(",") if name == "srcset" else [given.get(name, "")]
            self.found += [part.split()[0] for part in parts if part.strip()]
        if tag == "link" and not set(given.get("rel", "").split()) <= _POINTERS:
            self.found.append(given.get("href", ""))
        if tag in ("use", "image"):
            self.found += [given[name] for name in ("href", "xlink:href") if name in given]
        self.found += in_style(given.get("style", ""))

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.found += in_style(data)

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False


def in_style(text: str) -> list[str]:
    """Addresses in a style sheet."""
    return [first or second for first, second in _IN_STYLE.findall(text)]


def loaded(html: str) -> list[str]:
    """Addresses that a page loads by itself; where its links lead does not count."""
    parser = _Loaded()
    parser.feed(html)
    parser.close()
    return parser.found


def not_with_the_site(site: Path) -> Iterator[str]:
    """Yield a line for each thing that pages and style sheets below ``site`` load from elsewhere or miss."""
    for path in sorted([*site.rglob("*.html"), *site.rglob("*.css")]):
        text = path.read_text(encoding="utf-8")
        for address in loaded(text) if path.suffix == ".html" else in_style(text):
            parts = urlsplit(address)
            if parts.scheme == "data" or address.startswith("#"):
                continue
            if parts.scheme or parts.netloc or not (path.parent / unquote(parts.path)).is_file():
                yield f"{path.relative_to(site)} loads {address}"
