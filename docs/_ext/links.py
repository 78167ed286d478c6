"""Every link and picture of the built pages leads somewhere, and no page loads anything from another place."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit


class Page(HTMLParser):
    """The anchors of a page, where its links lead, and what it loads."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links, self.loaded = {"", "top"}, set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = {name: value for name, value in attrs if value}
        self.anchors |= {attrs[name] for name in ("id", "name") if name in attrs}
        if "href" in attrs:
            loads = tag == "link" and attrs.get("rel") in {"stylesheet", "preload", "icon"}
            (self.loaded if loads else self.links).add(attrs["href"])
        self.loaded |= {attrs[name] for name in ("src", "data") if name in attrs and tag != "a"}
        self.loaded |= {candidate.split()[0] for candidate in attrs.get("srcset", "").split(",") if candidate.strip()}

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)


def broken_links(root):
    """A line for each link of the pages under `root` that leads nowhere, and for each thing loaded from elsewhere."""
    root = Path(root).resolve()
    pages = {path: Page(path) for path in sorted(root.rglob("*.html")) if "_static" not in path.parts}
    faults = []
    for path, page in pages.items():
        name = path.relative_to(root)
        for address in sorted(page.loaded | page.links):
            if urlsplit(address).netloc:
                if address in page.loaded:
                    faults.append(f"{name}: loads {address}")
                continue
            if urlsplit(address).scheme:  # mail, or data in the address itself
                continue
            target, anchor = urldefrag(address)
            file = (path.parent / unquote(urlsplit(target).path)).resolve() if target else path
            if not file.is_file():
                faults.append(f"{name}: no file {address}")
            elif file in pages and unquote(anchor) not in pages[file].anchors:
                faults.append(f"{name}: no anchor {address}")
    return faults


def check(app, exception):
    if exception is None and app.builder.format == "html" and (faults := broken_links(app.outdir)):
        raise RuntimeError("broken links:\n" + "\n".join(faults))


def setup(app):
    app.connect("build-finished", check, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
