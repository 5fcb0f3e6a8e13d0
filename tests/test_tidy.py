"""The house rules that a program can check. Each ban names what to do instead."""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from headrace.core.topics import TOPICS
from headrace.runtime.telemetry import Attribute, Metric

ROOT = Path(__file__).resolve().parents[1]
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
LINE_CHARS_MAX = 130
SERVICE_FILES = {"README.md", "__init__.py", "app.py", "handlers.py", "settings.py", "subscribers.py"}

BROAD_EXCEPT = {
    "libs/headrace/adapters/vector_index/parts.py": "the engine raises bare Exceptions; what it merged is merged again",
    "libs/headrace/checks/_pool.py": "a check's own code may raise anything; its worker reports it",
    "libs/headrace/runtime/delivery/claims.py": "whatever happened to a transaction, there is one way out",
    "libs/headrace/runtime/delivery/hop.py": "a handler may raise anything; its events end somewhere",
    "libs/headrace/runtime/delivery/incoming.py": "whatever bytes do to a decoder, they must not get past it",
    "libs/headrace/runtime/delivery/routing.py": "a body that cannot be written is one record's trouble",
    "services/controller/rounds.py": "a fact that breaks the rules must not split its batch, whose facts build on each other",
    "libs/headrace/runtime/health.py": "a ping may fail in any way; it is reported, not raised",
}
ENVIRONMENT = {
    "libs/headrace/checks/_pool.py": "gives its children a clean environment",
    "libs/headrace/cli/main.py": "the entry: reads the environment file of the local stack",
    "libs/headrace/demo/": "speaks to the stack that the command line found",
    "libs/headrace/lm/": "runs inside Triton, which configures models by environment",
    "libs/headrace/local/": "starts processes and hands them their environment",
    "services/trainer/model_side.py": "starts the process that trains and hands it its environment",
}
CLIENTS = {
    "AIOKafkaConsumer", "AIOKafkaProducer", "AsyncQdrantClient", "ClientSession", "InferenceServerClient", "KafkaAdminClient",
    "KafkaBroker", "KafkaConsumer", "Minio", "ProcessPoolExecutor", "QdrantClient", "TCPConnector", "ThreadPoolExecutor",
    "connect", "insecure_channel",
}  # fmt: skip
BANNED_NAMES = {
    "helper": "say what it helps with",
    "helpers": "say what they help with",
    "info": "say what it tells",
    "manager": "say what it does",
    "misc": "put each thing where it belongs",
    "processor": "say what it does to what",
    "util": "say what it does",
    "utils": "put each function beside its caller, or name the subject",
}
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
BARE_SUPPRESSION = re.compile(r"#\s*(type:\s*ignore(?!\[[\w, -]+\]\s*#)|noqa(?!: PLC0415$|: [A-Z0-9, ]+\s+[-#]))")
"""PLC0415 needs no reason each time: heavy imports wait until they are needed."""
NOT_OURS = re.compile(
    r"(?<![\w.-])/work(?![\w-])|\.\./" + r"shared/|shared/" + r"(?:reference|DESIGN)|\b(?:Claude|Anthropic|Copilot)\b",
    re.IGNORECASE,
)
TEXT = {
    ".cfg",
    ".css",
    ".html",
    ".ini",
    ".js",
    ".json",
    ".md",
    ".proto",
    ".py",
    ".pyi",
    ".sh",
    ".toml",
    ".txt",
    ".yaml",
    ".yml",
    "",
}


@cache
def project_files() -> tuple[Path, ...]:
    """Every file that is committed or about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return tuple(path for name in sorted(set(listed.stdout.splitlines())) if (path := ROOT / name).is_file())


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def python_files(*folders: str) -> tuple[Path, ...]:
    """Python that people write: generated code has its own rules."""
    folders = folders or ("libs/headrace/", "services/", "tests/")
    return tuple(path for path in project_files() if path.suffix == ".py" and name_of(path).startswith(folders))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def ours() -> tuple[Path, ...]:
    return python_files("libs/headrace/", "services/")


def fail_with(offences: Iterator[str], instead: str) -> None:
    """Fails with every offence at once, and with what to do about them."""
    found = sorted(offences)
    if found:
        pytest.fail(f"{instead}:\n  " + "\n  ".join(found), pytrace=False)


def in_each(paths: tuple[Path, ...], look: Callable[[Path], Iterator[tuple[int, str]]]) -> Iterator[str]:
    for path in paths:
        for line, what in look(path):
            yield f"{name_of(path)}:{line}: {what}"


def test_modules_are_short():
    """A module fits into one sitting."""
    long = ((name_of(path), len(path.read_text().splitlines())) for path in python_files())
    fail_with((f"{name}: {lines} lines" for name, lines in long if lines > MODULE_LINES_MAX),
              f"a module has at most {MODULE_LINES_MAX} lines; split it by subject")  # fmt: skip


def test_functions_are_short():
    """A function fits on a screen."""

    def look(path):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    yield node.lineno, f"{node.name} has {lines} lines"

    fail_with(in_each(python_files(), look), f"a function has at most {FUNCTION_LINES_MAX} lines; give its parts names")


def test_lines_of_protos_are_short():
    """A line can be read without scrolling; ruff sees to it in Python."""

    def look(path):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if len(line) > LINE_CHARS_MAX:
                yield number, f"{len(line)} characters"

    paths = tuple(path for path in project_files() if path.suffix == ".proto")
    fail_with(in_each(paths, look), f"a line has at most {LINE_CHARS_MAX} characters; break it")


def test_importing_a_module_opens_nothing():
    """Clients are made in app.py, never when a module is imported."""

    def look(path):
        for statement in tree_of(path).body:
            if isinstance(statement, ast.Assign | ast.AnnAssign | ast.Expr):
                for node in ast.walk(statement):
                    if isinstance(node, ast.Call) and _called(node) in CLIENTS:
                        yield node.lineno, _called(node)

    fail_with(in_each(ours(), look), "no client at module level; make it in app.py and pass it on")


def test_broad_excepts_stand_only_where_they_are_declared():
    """Swallowing everything is right in a few places, each named with its reason."""

    def look(path):
        if name_of(path) not in BROAD_EXCEPT:
            for node in ast.walk(tree_of(path)):
                if isinstance(node, ast.ExceptHandler) and _catches_everything(node):
                    yield node.lineno, "except Exception"

    fail_with(in_each(ours(), look), "catch what you can name; or state in BROAD_EXCEPT why anything may come")


def test_suppressions_say_what_and_why():
    """A suppression names its rule and its reason."""

    def look(path):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if BARE_SUPPRESSION.search(line):
                yield number, line.strip()

    paths = tuple(path for path in ours() if "libs/headrace/cli/" not in name_of(path))
    fail_with(in_each(paths, look), "write `# noqa: RULE  # reason` or `# type: ignore[code]  # reason`")


def test_services_have_one_anatomy():
    """Learn one service, know them all: the same files everywhere; a further one is introduced by the README."""

    def look() -> Iterator[str]:
        for app in ROOT.glob("services/*/app.py"):
            folder = app.parent
            files = {path.name for path in folder.iterdir() if path.is_file()}
            yield from (f"{name_of(folder)}: lacks {name}" for name in SERVICE_FILES - files)
            readme = (folder / "README.md").read_text() if "README.md" in files else ""
            yield from (
                f"{name_of(folder)}: README.md does not speak of {name}" for name in files - SERVICE_FILES if name not in readme
            )

    fail_with(look(), f"a service has {', '.join(sorted(SERVICE_FILES))}; its README introduces every further file")


def test_services_read_settings_of_their_own_name():
    """A service's settings are HEADRACE_<SERVICE>_*, so that a variable tells whose it is."""
    fail_with(
        (
            name_of(path)
            for path in ROOT.glob("services/*/settings.py")
            if f'env_prefix="HEADRACE_{path.parent.name.upper()}_"' not in path.read_text()
        ),
        'model_config has env_prefix="HEADRACE_<SERVICE>_"',
    )


def test_topics_are_named_in_the_registry_alone():
    """A topic's name is written once."""
    names = tuple(topic.name for topic in TOPICS)

    def look(path):
        for line, text in _texts(path):
            if text.startswith((*names, "headrace.accepted")):
                yield line, text

    paths = tuple(path for path in ours() if name_of(path) != "libs/headrace/core/topics.py")
    fail_with(in_each(paths, look), "import the topic from headrace.core.topics")


def test_metrics_and_attributes_are_named_in_the_registry_alone():
    """A metric's name is written once, with its unit and meaning."""
    names = {metric.value.name for metric in Metric} | {str(attribute) for attribute in Attribute}

    def look(path):
        for line, text in _texts(path):
            if text in names:
                yield line, text
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Attribute) and node.attr in {"create_counter", "create_histogram", "create_up_down_counter"}:
                yield node.lineno, node.attr

    allowed = {"libs/headrace/runtime/telemetry_names.py", "libs/headrace/runtime/telemetry_sdk.py"}
    paths = tuple(path for path in ours() if name_of(path) not in allowed)
    fail_with(in_each(paths, look), "add it to headrace.runtime.telemetry_names and use Metric or Attribute")


def test_the_environment_is_read_by_settings_alone():
    """What configures a service is a named, typed, documented setting."""

    def look(path):
        if not name_of(path).startswith(tuple(ENVIRONMENT)):
            for node in ast.walk(tree_of(path)):
                if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}:
                    yield node.lineno, f"os.{node.attr}"

    fail_with(in_each(ours(), look), "declare a field in settings.py; or state in ENVIRONMENT why not")


def test_names_say_something():
    """No module, class or function is named by a word that fits everything."""

    def look(path):
        for word in _words(path.stem) & BANNED_NAMES.keys():
            yield 1, f"{path.name}: {BANNED_NAMES[word]}"
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                for word in _words(node.name) & BANNED_NAMES.keys():
                    yield node.lineno, f"{node.name}: {BANNED_NAMES[word]}"

    fail_with(in_each(python_files(), look), "rename")


def test_nothing_is_left_unfinished():
    """What is not done is an issue, not a note in the code."""

    def look(path):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if UNFINISHED.search(line):
                yield number, line.strip()

    paths = tuple(path for path in python_files() if path != Path(__file__).resolve())
    fail_with(in_each(paths, look), "finish it or open an issue")


def test_the_project_speaks_of_itself_alone():
    """No file names a machine, a folder outside the project, or whoever typed it."""

    def look(path):
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if NOT_OURS.search(line):
                yield number, line.strip()[:100]

    paths = tuple(path for path in project_files() if path.suffix in TEXT and path != Path(__file__).resolve())
    fail_with(in_each(paths, look), "say it without that, or not at all")


def test_lock_files_carry_no_addresses():
    """Where packages come from is the machine's business; what they are is proved by their hashes."""

    def look(path):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if "://" in line or line.lstrip().startswith(("-i ", "--index", "--extra-index", "--find-links")):
                yield number, line.strip()

    fail_with(in_each(tuple(path for path in project_files() if path.suffix == ".lock"), look), "lock without index addresses")


def test_modules_say_what_they_are_for():
    """Every module with code begins with a docstring."""

    def look(path):
        if tree_of(path).body and ast.get_docstring(tree_of(path)) is None:
            yield 1, "no docstring"

    fail_with(in_each(python_files("libs/headrace/"), look), "begin the module with one sentence: what it is for")


def test_tests_say_what_they_show():
    """Every test states its behaviour in a sentence."""

    def look(path):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                docstring = ast.get_docstring(node) or ""
                if not docstring.endswith("."):
                    yield node.lineno, node.name

    fail_with(in_each(python_files("tests/"), look), "give the test a docstring: one sentence, the behaviour that it shows")


def test_imports_point_one_way():
    """Core, then checks and adapters, then the runtime, then services; handlers and core know no clients."""
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail("move the code to the layer that it needs, or pass in what it needs:\n" + done.stdout, pytrace=False)


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else node.func.attr if isinstance(node.func, ast.Attribute) else ""


def _catches_everything(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    reraises = isinstance(handler.body[-1], ast.Raise)
    return any(isinstance(each, ast.Name) and each.id in {"Exception", "BaseException"} for each in caught) and not reraises


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    """String constants with their lines, documentation apart."""
    documentation = {id(node.value) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.lineno, node.value


def _words(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
