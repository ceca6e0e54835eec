"""Executed notebooks as pages: one HTML file each that needs no network and no script."""

import os
import re
from html import escape
from pathlib import Path

from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from dmh_lib.batch import read_notebook
from dmh_lib.errors import NotebookError
from dmh_lib.files import atomic_path

# nbconvert's own page, less the scripts that it would fetch from other hosts
TEMPLATE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
"""


class _Renderer(IPythonRenderer):
    """Markdown whose formulas become MathML, which browsers draw by themselves."""

    def inline_math(self, body: str) -> str:
        return _formula(body, "inline")

    def block_math(self, body: str) -> str:
        return f"<p>{_formula(body, 'block')}</p>"


def write_page(notebook: str | os.PathLike[str], page: str | os.PathLike[str]) -> Path:
    """Write an executed notebook as one HTML file with all of its pictures inside; returns the file's path.

    Raises NotebookError when there is no such notebook, or it cannot be shown.
    """
    path, target = Path(notebook), Path(page)
    nodes = read_notebook(path)
    headings = [re.match(r"# (.+)", cell.source) for cell in nodes.cells if cell.cell_type == "markdown"]
    title = next((heading[1] for heading in headings if heading), path.stem)
    nodes.metadata.pop("widgets", None)  # nothing moves on a page
    exporter = HTMLExporter(raw_template=TEMPLATE, filters={"markdown2html": _markdown})
    try:
        html, _ = exporter.from_notebook_node(nodes, {"metadata": {"name": title}})
    except Exception as error:  # templates, colours and Markdown have no error in common
        raise NotebookError(f"{path}: cannot be shown as a page ({error!r}); execute it again") from error
    with atomic_path(target) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return target


def _markdown(source: str) -> str:
    html: str = MarkdownWithMath(renderer=_Renderer(escape=False)).render(source)
    return html


def _formula(tex: str, display: str) -> str:
    """TeX as MathML; as it stands where that fails, since a page is worth more than one formula of it."""
    known = re.sub(r"\\tag\{(\w+)\}", r"\\qquad (\1)", tex).replace(r"\arg", r"\mathrm{arg}")
    try:
        return convert(known, display=display)
    except Exception:  # the library's errors have no class in common
        return f"<code>{escape(tex)}</code>"
