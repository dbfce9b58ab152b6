"""Only what pyproject.toml cannot say: the C++ extension.

`optional=True`: where the extension does not compile, the install still succeeds, and plain Python serves
(`dupo.text`).
"""

from glob import glob

from pybind11.setup_helpers import Pybind11Extension, build_ext
from setuptools import setup

setup(
    ext_modules=[
        Pybind11Extension(
            "dupo._C",
            sorted(glob("csrc/*.cpp")),
            depends=sorted(glob("csrc/*.hpp")),
            cxx_std=17,
            optional=True,
        )
    ],
    cmdclass={"build_ext": build_ext},
)
