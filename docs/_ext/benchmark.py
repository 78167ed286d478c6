"""``.. benchmark:: FILE`` shows what a script in benchmarks/ printed: the tables of docs/benchmarks/FILE, as they are.

The file is the script's own output: two lines on machine, date and versions, then Markdown tables, each after its
title. Remarks between them are left out. With ``:title:``, only the tables whose titles begin so are shown.
"""

from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective


class Benchmark(SphinxDirective):
    required_arguments = 1
    option_spec = {"title": directives.unchanged}  # noqa: RUF012

    def run(self):
        path = Path(self.env.srcdir, "benchmarks", self.arguments[0])
        self.env.note_dependency(str(path))
        machine, *blocks = path.read_text().strip().split("\n\n")
        shown = [nodes.paragraph("", machine.replace("\n", "; "))]
        start, title = self.options.get("title", ""), ""
        for block in blocks:
            if not block.startswith("|"):
                title = block
            elif title.startswith(start):
                shown += self.parse_text_to_nodes(list_table(title, block))
        if len(shown) == 1:
            raise self.error(f"no table of {path.name} has a title that begins with {start!r}")
        return shown


def list_table(title, markdown):
    """A Markdown table as a directive of reStructuredText."""
    header, _, *rows = markdown.splitlines()
    lines = [f".. list-table:: {title}", "   :header-rows: 1", "   :class: benchmark", ""]
    for row in (header, *rows):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        lines += [f"   {'* -' if index == 0 else '  -'} {cell}" for index, cell in enumerate(cells)]
    return "\n".join(lines)


def setup(app):
    app.add_directive("benchmark", Benchmark)
    return {"parallel_read_safe": True}
