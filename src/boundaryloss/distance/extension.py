"""The native code (`native/`), or the word that this install has none."""

import warnings
from functools import cache


@cache
def native_code():
    """Return the native code, or None where it was not built or cannot be loaded, which is said once."""
    try:
        import boundaryloss.distance._native as native
    except ImportError as reason:
        warnings.warn(
            f"boundaryloss runs without its native code ({reason}): results are the same, but distance maps "
            "on the CPU take 30 to 130 times as long. To mend it, install a C++20 "
            "compiler (GCC or Clang), then reinstall with pip install --force-reinstall --no-deps "
            "--no-cache-dir --no-binary boundaryloss boundaryloss, or with . as the last word in a checkout",
            stacklevel=2,
        )
        return None
    return native
