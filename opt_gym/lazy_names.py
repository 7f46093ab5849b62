"""Names of a package that are imported when they are first used, so that it imports quickly."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(
    package: dict[str, Any], homes: Mapping[str, tuple[str, ...]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package.

    Args:
        package: its `globals()`.
        homes: by module of the package, the names that come from there.
    """
    of_package = package["__name__"]
    home_of = {name: home for home, names in homes.items() for name in names}

    def get(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {of_package!r} has no attribute {name!r}")
        home = importlib.import_module(f"{of_package}.{home_of[name]}")
        return getattr(home, name)

    return get, lambda: sorted([*package, *home_of])
