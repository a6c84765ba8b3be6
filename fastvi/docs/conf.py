"""Sphinx settings of the documentation: ``tox -e docs`` builds it, and every warning is an error."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.errors import ExtensionError

import fastvi
from fastvi.docs.offline import not_with_the_site

project = "fastvi"
author = "The fastvi authors"
release = fastvi.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
]
myst_heading_anchors = 3
# scripts are run, and become pages below generated/; of the lecture, one page, the list of pages is left out
exclude_patterns = ["_build", "examples", "lecture", "generated/lecture/index.rst"]
html_theme = "furo"
html_title = f"fastvi {release}"
html_show_copyright = False
html_show_search_summary = False  # its script fetches pages, which a browser refuses to do from the disk
html_theme_options = {"light_css_variables": {"code-font-size": "0.72rem"}}  # 100 columns without scrolling
html_math_renderer = "mathml"  # browsers set it by themselves: no script and no font to load

sphinx_gallery_conf = {
    "examples_dirs": ["lecture", "examples"],
    "gallery_dirs": ["generated/lecture", "generated/gallery"],
    "within_subsection_order": "FileNameSortKey",
    "reference_url": {"fastvi": None},  # a function in an example leads to its page of the reference
    "run_stale_examples": True,  # also those whose text is as before: fastvi may not be
    "remove_config_comments": True,
    "capture_repr": (),  # what is printed is shown, and no address of an object
    "show_signature": False,
    # the same pages each time: no seconds
    "min_reported_time": 1e9,
    "write_computation_times": False,
}

# a reference to a name of ours that is not described is an error; words of types ("array_like") are no names
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!fastvi\.).*")]
suppress_warnings = ["ref.python"]  # "the shape of mean" in a type: several classes have a mean

napoleon_google_docstring = False
napoleon_use_ivar = True  # an attribute in a docstring and the property of its name are one entry
autodoc_typehints = "none"  # shapes and types stand in the docstrings
# the programs that bridges lead to are not installed where the documentation is built
autodoc_mock_imports = ["torch", "jax", "sklearn", "arviz_base", "arviz_stats", "dimod", "pandas", "xarray"]
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "inherited-members": "tuple, UserWarning"}

# a bar that could begin a substitution; others, as in p(z|x), mean nothing and keep the columns of tables
_LITERAL_OR_BAR = re.compile(r"(``.*?``)|(?<![^\s(\[{<'\"/:-])\|(?=\S)")
_INITIAL = re.compile(r"^([A-Z])\.(?= )")  # of an author, with whom a reference begins; a list would begin so


def prepare_docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Take the bars of |x| and KL(q || p) as they stand: reStructuredText would substitute what is between.

    A property's first line stays one sentence: without a colon at its start napoleon takes what precedes the
    first one for a type. Attributes that share an entry get one each, as napoleon does for parameters. An
    author's initial begins no list.
    """
    in_math = False
    for number, line in enumerate(lines):
        if line.startswith((".. math::", "    .. math::")):
            in_math = True
        elif line and not line.startswith(" "):
            in_math = False
        if not in_math and not line.lstrip().startswith((">>>", "... ")):
            line = _LITERAL_OR_BAR.sub(lambda found: found[1] or r"\|", line)
            lines[number] = _INITIAL.sub(r"\1\.", line)
    if what in ("attribute", "data", "property"):
        lines[:1] = [f": {line}" for line in lines[:1]]
    if what == "class":
        lines[:] = "\n".join(one_attribute_an_entry(lines)).split("\n")


def one_attribute_an_entry(lines: list[str]) -> list[str]:
    """Lines of a docstring whose section "Attributes" names one attribute in each entry."""
    start = lines.index("Attributes") + 2 if "Attributes" in lines else len(lines)
    end = next((n - 2 for n in range(start, len(lines)) if lines[n].startswith("---")), len(lines))
    found = lines[:start]
    for entry in re.split(r"\n(?=\w)", "\n".join(lines[start:end])):
        head, line_end, rest = entry.partition("\n")
        names, colon, kind = head.partition(" : ")
        each = "\n".join(f"{name}{colon}{kind}{line_end}{rest}" for name in names.split(", "))
        found += each.split("\n")
    return found + lines[end:]


def check_public_names(app: Any, env: Any) -> None:
    """Refuse a reference that does not describe every public name."""
    described = {entry[0] for entry in env.get_domain("py").get_objects()}
    names = {f"fastvi.{name}" for name in fastvi.__all__} - {"fastvi.__version__"}
    if missing := sorted(names - described):
        raise ValueError(f"the API reference lacks {', '.join(missing)}")


def check_site(app: Any, exception: Exception | None) -> None:
    """Refuse pages that load what does not come with them."""
    if exception is None and (found := list(not_with_the_site(Path(app.outdir)))):
        raise ExtensionError("the site does not open without a network: " + "; ".join(found[:10]))


def mathml(formula: str, as_block: bool) -> str:
    """LaTeX as MathML, with TeX's thin space between log and what it is taken of."""
    found: str = tex2mathml(formula, as_block=as_block)
    return found.replace("<mo>&ApplyFunction;</mo>", '<mo lspace="0" rspace="0.17em">&ApplyFunction;</mo>')


def show_inline(writer: Any, node: nodes.math) -> None:
    """Write a formula in a line as MathML."""
    writer.body.append(mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def show_block(writer: Any, node: nodes.math_block) -> None:
    """Write a formula of its own as MathML, to be scrolled where it is wider than the page."""
    writer.body.append(f'<div style="overflow-x: auto">{mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Connect all to Sphinx: docstrings ahead of napoleon, the check of the site behind everybody else."""
    app.connect("autodoc-process-docstring", prepare_docstring, priority=400)
    app.connect("env-check-consistency", check_public_names)
    app.connect("build-finished", check_site, priority=900)
    app.add_html_math_renderer("mathml", (show_inline, None), (show_block, None))
