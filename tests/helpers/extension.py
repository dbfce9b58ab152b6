"""The C++ extension for tests that compare it with its Python twins."""

import pytest

from dupo.text import extension

CORE = extension.core()
needs_extension = pytest.mark.skipif(CORE is None, reason="dupo._C is not built")
