"""Compiles librethined as a part of the package; all else stands in pyproject.toml."""

import runpy
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NATIVE = "rethined_export/recipes/rethined/native"
COMPILE = runpy.run_path(f"{NATIVE}/compile.py")


class BuildNative(build_ext):
    """Compiles with zig, which asks for no compiler on the machine."""

    def build_extension(self, ext: Extension) -> None:
        library = Path(self.get_ext_fullpath(ext.name))
        COMPILE["build"](COMPILE["host"](), library)
        # Of an editable install setuptools takes the extension alone to the source's folder.
        folder = Path(NATIVE) if self.editable_mode else library.parent
        for target in COMPILE["CARRIED"]:
            COMPILE["build"](target, folder / target.file)

    def get_ext_filename(self, fullname: str) -> str:
        """Its name without Python's version: it is a plain C library."""
        return fullname.replace(".", "/") + ".so"


setup(
    ext_modules=[Extension(f"{NATIVE.replace('/', '.')}.librethined", [f"{NATIVE}/rethined.c"])],
    cmdclass={"build_ext": BuildNative},
)
