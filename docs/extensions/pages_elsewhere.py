"""Links to files and folders that are no pages: on the site they are paths, and lead nowhere.

A page of ours is read in a checkout, too, where `../opt_gym/records.py` is a click away; the
site stands without the repository.
"""

from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]


def _as_paths(app: Sphinx, doctree: nodes.document) -> None:
    """Replaces such links in a page that was read; what is nowhere is left to be warned of."""
    here = Path(app.env.doc2path(app.env.docname)).parent
    for link in [
        *doctree.findall(addnodes.download_reference),
        *doctree.findall(addnodes.pending_xref),
    ]:
        path = _file(link, here, app.env.found_docs)
        if path is not None:
            link.replace_self(_shown(link.astext(), path.relative_to(ROOT).as_posix()))


def _file(link: nodes.Element, here: Path, pages: set[str]) -> Path | None:
    """What a link leads to where that is no page."""
    target = link["reftarget"].partition("#")[0]
    if link.get("refdomain") == "doc":
        found = [] if target in pages else [*ROOT.glob(f"{target}.*")]
    elif isinstance(link, addnodes.download_reference) or link["reftype"] == "myst":
        found = [(here / target).resolve()] if target else []
    else:
        found = []
    return next((path for path in found if path.exists()), None)


def _shown(text: str, name: str) -> list[nodes.Node]:
    """The path as code, behind the text where that says anything else."""
    path: list[nodes.Node] = [nodes.literal(text=name)]
    if name.endswith(text.strip("/")):
        return path
    return [nodes.Text(f"{text} ("), *path, nodes.Text(")")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Looks at every page when it was read."""
    app.connect("doctree-read", _as_paths)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
