"""What a reader of the reference is told: every public name, argument, error and source."""

import ast
import inspect
import re
import textwrap
from typing import Any

from docs.extensions import our_docstrings, public_modules
from opt_gym import plugins

UNSAID = {"self", "cls"}


def public_things():
    """(dotted name, function or class) of everything public, and every plug-in's `make`."""
    found = {}
    for _, module in public_modules.public_modules():
        for name in public_modules.public_names(module):
            value = getattr(module, name)
            path = f"{module.__name__}.{name}"
            if public_modules.is_class(value):
                found[path] = value
                for part, inside in public_modules.parts(value):
                    if not is_anothers(value, part):
                        found[f"{path}.{part}"] = inside
            elif public_modules.is_function(value):
                found[path] = value
    for kind in set(plugins.KINDS) - {"task"}:  # a family's is of a config
        for name in plugins.built_in(kind):
            found[f"{kind} {name}"] = plugins.spec(kind, name).make
    return found


def is_anothers(cls, name):
    """Whether another package's class says what this is: Gymnasium's step, torch's."""
    bases = cls.__mro__[1:]
    return any(
        name in vars(base)
        for base in bases
        if not base.__module__.startswith(public_modules.PACKAGES)
    )


THINGS = public_things()


def docstring(thing):
    thing = thing.fget if isinstance(thing, property) else thing
    return inspect.getdoc(thing) or ""


def is_made_elsewhere(thing):
    """An exception or another package's, a protocol that nobody makes."""
    if not inspect.isclass(thing):
        return False
    begins = inspect.unwrap(thing.__init__)
    if inspect.isfunction(begins) and not begins.__module__.startswith(
        public_modules.PACKAGES
    ):
        return not issubclass(thing, tuple)
    return issubclass(thing, BaseException) or getattr(thing, "_is_protocol", False)


def arguments(thing):
    """Those that somebody who calls it has to know."""
    if isinstance(thing, property) or is_made_elsewhere(thing):
        return []
    try:
        names = inspect.signature(thing).parameters
    except ValueError:
        return []
    return [name for name in names if name not in UNSAID and not name.startswith("_")]


def raises(thing):
    """Whether its own body raises, on behalf of its caller."""
    if inspect.isclass(thing):
        thing = None if is_made_elsewhere(thing) else vars(thing).get("__init__")
        # Of a dataclass or a NamedTuple nobody wrote it.
        if not inspect.isfunction(thing) or thing.__code__.co_filename.startswith("<"):
            return False
    function: Any = thing.fget if isinstance(thing, property) else thing
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
    (defined,) = ast.parse(source).body
    assert isinstance(defined, ast.FunctionDef)
    return any(has_raise(node) for node in defined.body)


def has_raise(node):
    """Of functions inside, nothing is said."""
    if isinstance(node, ast.FunctionDef | ast.Lambda):
        return False
    if isinstance(node, ast.Raise):
        return node.exc is not None
    return any(has_raise(child) for child in ast.iter_child_nodes(node))


def is_said(name, text):
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def test_there_is_much_to_look_at():
    assert len(THINGS) > 400


def test_everything_has_a_first_line():
    bad = []
    for path, thing in THINGS.items():
        first = docstring(thing).partition("\n")[0]
        if not first or first[-1] not in ".:;?" or len(first) > 100:
            bad.append((path, first))
    assert bad == []


def test_every_argument_is_said():
    unsaid = {}
    for path, thing in THINGS.items():
        text = docstring(thing)
        missing = [name for name in arguments(thing) if not is_said(name, text)]
        if missing:
            unsaid[path] = missing
    assert unsaid == {}


def test_what_raises_says_so():
    silent = [
        path
        for path, thing in THINGS.items()
        if raises(thing) and "Raise" not in docstring(thing)
    ]
    assert silent == []


def test_docstrings_can_be_read():
    for path, thing in THINGS.items():
        try:
            our_docstrings.converted(docstring(thing))
        except ValueError as error:
            raise AssertionError(f"{path}: {error}") from None


OF_ARRAYS = ("opt_gym.maths", "opt_gym.tasks.building", "learned.building")
PLAIN = {"config", "theta", "tree", "value", "values", "state", "params", "like"}
SHAPED = re.compile(r"\[|scalar|elementwise|leaf|leaves|array|shape|tensor")


def annotations(thing):
    if inspect.isclass(thing) or isinstance(thing, property):
        return {}
    signature = inspect.signature(thing).parameters.items()
    return {name: str(parameter.annotation) for name, parameter in signature}


def test_shapes_are_said_where_annotations_say_none():
    """An annotation as Float[Array, "n f"] has them; a bare Array, or Any, does not."""
    unsaid = []
    for path, thing in THINGS.items():
        of_arrays = path.startswith(OF_ARRAYS)
        bare = [
            name
            for name, kind in annotations(thing).items()
            if re.search(r"^[^\[]*\bArray\b(?!,)", kind)
            or (of_arrays and kind == "typing.Any" and name not in PLAIN)
        ]
        if bare and not SHAPED.search(docstring(thing)):
            unsaid.append((path, bare))
    assert unsaid == []
