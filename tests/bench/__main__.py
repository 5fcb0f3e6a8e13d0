"""`make bench`: every benchmark, one after the other, each in a process of its own; name some to run only those."""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def main() -> None:
    """Runs `bench_<name>.py` for each name given, or all of them."""
    found = sorted(path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py"))
    names = sys.argv[1:] or found
    unknown = [name for name in names if name not in found]
    if unknown:
        sys.exit(f"no benchmark is called {', '.join(unknown)}: there are {', '.join(found)}")
    failed = []
    for name in names:
        print(f"\n== {name}", flush=True)
        if subprocess.run((sys.executable, "-m", f"tests.bench.bench_{name}"), check=False).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"these benchmarks failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
