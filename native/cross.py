"""Compile and link the native code for every system that gets a wheel: `pip install ziglang`, then run this.

What Python does to it is left out (its headers and libraries for other systems are not here). Needs CMake and
Ninja; results are left in build/cross. It ends with an error if anything fails or warns.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SYSTEMS = {  # as Zig names them -> as CMake does
    "x86_64-linux-gnu.2.28": ("Linux", "x86_64"),
    "x86_64-linux-musl": ("Linux", "x86_64"),
    "aarch64-linux-gnu.2.28": ("Linux", "aarch64"),
    "aarch64-linux-musl": ("Linux", "aarch64"),
    "x86_64-macos.11.0": ("Darwin", "x86_64"),
    "aarch64-macos.11.0": ("Darwin", "arm64"),
    "x86_64-windows-gnu": ("Windows", "AMD64"),
    "aarch64-windows-gnu": ("Windows", "ARM64"),
}

# Zig writes the levels of x86 in its own way.
WRAPPER = """\
#!/bin/sh
for word; do
    shift
    case $word in -march=x86-64-v*) word=-march=x86_64_v${{word#-march=x86-64-v}} ;; esac
    set -- "$@" "$word"
done
exec {zig} "$@"
"""


def build(target: str, system: str, processor: str) -> Path:
    """Return the shared library of the native code for one system."""
    folder = ROOT / "build/cross" / target
    shutil.rmtree(folder, ignore_errors=True)
    tools = folder / "tools"
    tools.mkdir(parents=True)
    for tool, options in ("ar", ""), ("ranlib", ""), ("c++", f"-target {target}"):
        zig = f'"{sys.executable}" -m ziglang {tool} {options}'
        (tools / tool).write_text(WRAPPER.format(zig=zig))
        (tools / tool).chmod(0o755)
    settings = {
        "BOUNDARYLOSS_PYTHON": "OFF",
        "CMAKE_SYSTEM_NAME": system,
        "CMAKE_SYSTEM_PROCESSOR": processor,
        "CMAKE_CXX_COMPILER": tools / "c++",
        "CMAKE_CXX_FLAGS": "-Wall -Wextra -Werror",
        "CMAKE_AR": tools / "ar",
        "CMAKE_RANLIB": tools / "ranlib",
        "CMAKE_INSTALL_NAME_TOOL": "true",  # asked for, and not used
        "CMAKE_OSX_SYSROOT": "",
        "CMAKE_OSX_DEPLOYMENT_TARGET": "",
        "CMAKE_OSX_ARCHITECTURES": "",
    }
    options = [f"-D{name}={value}" for name, value in settings.items()]
    subprocess.run(["cmake", "-G", "Ninja", "-S", ROOT, "-B", folder, *options], check=True)
    subprocess.run(["cmake", "--build", folder], check=True)
    (library,) = (p for p in folder.glob("native/*_native*") if p.suffix in (".so", ".dylib", ".dll"))
    return library


if __name__ == "__main__":
    for target, names in SYSTEMS.items():
        if sys.argv[1:] in ([], [target]):
            library = build(target, *names)
            print(f"{target}: {library} {library.stat().st_size // 1024} KB")
