#!/usr/bin/env python3
"""The house rules that a machine can check.

    check_style.py [ROOT]

Prints one line per finding, `path:line: rule: what to do instead`, and fails when there is any. Each
rule is a function from a SourceFile to findings, listed in RULES; tests/style/check_style_test.py
feeds every rule bad text.
"""

import dataclasses
import functools
import pathlib
import re
import sys

MAX_COLUMNS = 100
MAX_FUNCTION_LINES = 70
MAX_FILE_LINES = 1000
MAX_PARAMETERS = 5

CODE_FOLDERS = ("src", "tests", "fuzz", "bench")
TEXT_FOLDERS = CODE_FOLDERS + ("cmake", "tools", "docs", "deploy", "web", ".ci")
TEXT_SUFFIXES = {".cc", ".h", ".py", ".sh", ".md", ".txt", ".cmake", ".json", ".yaml", ".yml", ""}
# Data whose form someone else decides.
SKIPPED_FOLDERS = {"golden", "corpus", "node_modules", "__pycache__", "transcripts"}
# Long by nature: rows of data or generated.
TABLE_NAMES = re.compile(r"_(tables|data)\.(cc|h)$")


@dataclasses.dataclass(frozen=True)
class Finding:
    path: str
    line: int
    rule: str
    advice: str

    def __str__(self):
        return f"{self.path}:{self.line}: {self.rule}: {self.advice}"


class SourceFile:
    """A file's text and, for C++, the same text with comments, literals and directives blanked."""

    def __init__(self, path, text, modules=()):
        self.path = path
        self.text = text
        self.lines = text.split("\n")
        self.modules = tuple(modules)  # The ladder, lowest rung first.

    @property
    def is_cpp(self):
        return self.path.endswith((".cc", ".h"))

    @property
    def is_test(self):
        return self.path.endswith(("_test.cc", "_test_util.h")) or self.path.startswith("tests/")

    @property
    def module(self):
        parts = self.path.split("/")
        return parts[1] if parts[0] == "src" and len(parts) > 2 else None

    @functools.cached_property
    def code(self):
        return blank_directives(blank_comments_and_literals(self.text))

    def line_of(self, offset):
        return self.text.count("\n", 0, offset) + 1

    def finding(self, line, rule, advice):
        return Finding(self.path, line, rule, advice)


TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)
      | (?P<raw>R"(?P<mark>[^(\s]*)\(.*?\)(?P=mark)")
      | (?P<text>"(?:\\.|[^"\\\n])*")
      | (?P<char>(?<![0-9A-Za-z_])'(?:\\.|[^'\\\n])+')""",
    re.VERBOSE | re.DOTALL)


def blanked(text):
    return re.sub(r"[^\n]", " ", text)


def blank_comments_and_literals(text):
    """Same length; quotes stay so that a call's argument is still visible as one. A raw literal loses
    its line ends: a long text does not make its function long."""

    def replace(match):
        if match.group("comment"):
            return blanked(match.group())
        if match.group("raw"):
            return '"' + " " * (len(match.group()) - 2) + '"'
        return '"' + blanked(match.group()[1:-1]) + '"'

    return TOKEN.sub(replace, text)


def blank_directives(code):
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda match: blanked(match.group()), code,
                  flags=re.MULTILINE)


# Blocks of C++ -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Function:
    head: str
    line: int  # Of the opening brace.
    num_lines: int


def strip_templates(head):
    """`head` without `template <...>` prefixes."""
    while (match := re.search(r"\btemplate\s*<", head)) is not None:
        depth, end = 1, match.end()
        while end < len(head) and depth > 0:
            depth += {"<": 1, ">": -1}.get(head[end], 0)
            end += 1
        head = head[: match.start()] + head[end:]
    return head


def is_container(head):
    """True for what holds functions: namespaces, classes and the like."""
    head = strip_templates(head).strip()
    if re.match(r"(inline\s+)?namespace\b|extern\s+\"", head):
        return True
    match = re.match(r"(typedef\s+|export\s+)?(class|struct|union|enum)\b", head)
    return match is not None and "(" not in head.split(":")[0].replace("alignas(", "")


def matching_brace(code, open_at):
    depth = 0
    for match in re.compile(r"[{}]").finditer(code, open_at):
        depth += 1 if match.group() == "{" else -1
        if depth == 0:
            return match.start()
    return len(code) - 1


def functions(source):
    """Every function body outside other functions; lambdas count with what holds them."""
    code, position, head_start, found = source.code, 0, 0, []
    while (match := re.compile(r"[{};]").search(code, position)) is not None:
        position = match.end()
        if match.group() != "{":
            head_start = position
            continue
        head = code[head_start : match.start()]
        head_start = position
        if is_container(head):
            continue
        close = matching_brace(code, match.start())
        if not head.rstrip().endswith(("=", "(", ",")):  # Else an initializer.
            num_lines = code.count("\n", match.start(), close) + 1
            found.append(Function(head, source.line_of(match.start()), num_lines))
        position = head_start = close + 1
    return found


def split_parameters(text):
    parameters, depth, current = [], 0, ""
    for char in text:
        depth += {"(": 1, "<": 1, "[": 1, "{": 1, ")": -1, ">": -1, "]": -1, "}": -1}.get(char, 0)
        if char == "," and depth == 0:
            parameters.append(current)
            current = ""
        else:
            current += char
    return [text for text in parameters + [current] if text.strip()]


def parameters_of(head):
    """The parameters of the function that `head` begins, or none when it is something else."""
    head = strip_templates(head).replace("->", "  ")
    match = re.search(r"(?:[\w~]|operator[^\s\w]+)\s*\(", head)
    if match is None or re.search(r"\b(TEST|TEST_F|TEST_P|requires|decltype)\s*\($", head[: match.end()]):
        return []
    depth, end = 1, match.end()
    while end < len(head) and depth > 0:
        depth += {"(": 1, ")": -1}.get(head[end], 0)
        end += 1
    return split_parameters(head[match.end() : end - 1])


# Rules ---------------------------------------------------------------------------------------------


def check_lines(source):
    for number, line in enumerate(source.lines, 1):
        if source.is_cpp and len(line) > MAX_COLUMNS:
            yield source.finding(number, "columns", f"{len(line)} columns, the limit is {MAX_COLUMNS}")
        if line != line.rstrip():
            yield source.finding(number, "blank-at-end", "remove the blanks at the end of the line")
        if "\t" in line and source.is_cpp:
            yield source.finding(number, "tab", "indent with blanks")
        if source.is_cpp and not line.isascii():
            yield source.finding(number, "ascii", "write \\u or \\x escapes; sources are plain ASCII")
    if source.text and not source.text.endswith("\n"):
        yield source.finding(len(source.lines), "last-line", "end the file with a line end")


def check_file_length(source):
    num_lines = source.text.count("\n")
    if source.is_cpp and num_lines > MAX_FILE_LINES and not TABLE_NAMES.search(source.path):
        yield source.finding(1, "file-length",
                             f"{num_lines} lines, the limit is {MAX_FILE_LINES}: split the file")


def check_functions(source):
    if not source.is_cpp:
        return
    for function in functions(source):
        if function.num_lines > MAX_FUNCTION_LINES:
            yield source.finding(
                function.line, "function-length",
                f"{function.num_lines} lines, the limit is {MAX_FUNCTION_LINES}: split the function")
        num_parameters = len(parameters_of(function.head))
        if num_parameters > MAX_PARAMETERS:
            yield source.finding(
                function.line, "parameters",
                f"{num_parameters} parameters, the limit is {MAX_PARAMETERS}: use an options struct")


def check_header(source):
    if source.path.endswith(".h") and "#pragma once" not in source.lines:
        yield source.finding(1, "pragma-once", "a header begins with #pragma once")


def check_names(source):
    name = source.path.rsplit("/", 1)[-1]
    if source.is_cpp and not re.fullmatch(r"[a-z0-9_]+\.(cc|h)", name):
        yield source.finding(1, "file-name", "file names are snake_case")


INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')


def includes(source):
    if not source.is_cpp:
        return
    for number, line in enumerate(source.lines, 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1) == '"', match.group(2)


def check_own_header(source):
    """Which proves that the header compiles alone; the build checks headers without a source."""
    names = [name for _, is_ours, name in includes(source) if is_ours]
    all_names = [name for _, _, name in includes(source)]
    own = re.sub(r"^src/(.*)\.cc$", r"\1.h", source.path)
    if own in names and all_names[0] != own:
        yield source.finding(1, "own-header-first", f'the first include is "{own}"')


def check_ladder(source):
    for number, is_ours, name in includes(source):
        if not is_ours:
            continue
        target = name.split("/")[0]
        if "/" not in name or (target not in source.modules and target not in ("tests", "bench")):
            yield source.finding(number, "include-path",
                                 f'"{name}" is not relative to src/ (write "module/file.h")')
        elif source.module in source.modules and target in source.modules:
            if source.modules.index(target) > source.modules.index(source.module):
                yield source.finding(
                    number, "ladder",
                    f"{source.module} is below {target}: move the code or turn the dependency around")
        elif source.module in source.modules and not source.is_test:
            yield source.finding(number, "ladder", f'only tests include "{name}"')


# Included library, where it may be, and the way to it from elsewhere.
LIBRARY_BORDERS = [
    (r".*(mmintrin|x86intrin|immintrin|cpuid|arm_neon|arm_acle|arm_sve)\.h|hwy/.*|simde/.*",
     r"src/kernels/.*|bench/.*", "SIMD stays in src/kernels"),
    (r"boost/(beast|asio)(/|\.hpp).*", r"src/(server/http_server|loadgen/(http_client|load_generator)).*",
     "use src/server/http_server.h or src/loadgen/load_generator.h"),
    (r"boost/.*", r"src/server/.*", "Boost stays in src/server"),
    (r"cairo(-svg)?\.h", r"src/loadgen/canvas\.cc", "use src/loadgen/canvas.h"),
    (r"curl/.*", r"src/hub/hub_client\.cc", "use hub/hub_client.h, the only way out"),
    (r"archive(_entry)?\.h", r"src/hub/bundle\.cc", "use hub/bundle.h"),
    (r"openssl/.*", r"src/hub/digest\.cc", "use hub/digest.h"),
    (r"nlohmann/.*", r"src/base/json\.cc", "use base/json.h"),
    (r"yaml-cpp/.*", r"src/base/config_file\.cc", "use base/config_file.h"),
    (r"spdlog/.*", r"src/base/log\.cc", "use base/log.h"),
    (r"prometheus/.*", r"src/metrics/metrics\.cc", "use metrics/metrics.h"),
    (r"(pcre2|utf8proc)\.h", r"src/(tokenizer|jinja)/.*", "Unicode tables and patterns are for text"),
    (r"(gtest|gmock)/.*", r"tests/.*|src/.*_test(_util)?\.(cc|h)", "tests only"),
    (r"format|print", r"(?!)", "use fmt, which both compilers have"),
    (r"regex", r"tests/.*|src/.*_test\.cc", "std::regex recurses on its input; use PCRE2"),
    (r"cassert|assert\.h", r"(?!)", "use HEARTH_CHECK, which release builds keep"),
    (r"iostream", r"src/cli/.*|bench/.*", "report through Status or base/log.h"),
]


def check_library_borders(source):
    for number, is_ours, name in includes(source):
        if is_ours:
            continue
        for library, allowed, advice in LIBRARY_BORDERS:
            if re.fullmatch(library, name):
                if not re.fullmatch(allowed, source.path):
                    yield source.finding(number, "library-border", f"<{name}>: {advice}")
                break


NOT_A_MEMBER = r"(?<![\w.>:])(?:::|std::)?"
CALL = r"\s*\("
# Pattern in code, files that may, and the replacement.
BANNED = [
    (NOT_A_MEMBER + r"(abort|exit|_exit|quick_exit|terminate)" + CALL,
     r"src/cli/.*|src/base/status\.cc|tests/.*", "return a Status; HEARTH_CHECK for broken invariants"),
    (r"std::(cout|cerr|clog)\b|" + NOT_A_MEMBER + r"(printf|fprintf|puts|fputs|putchar)" + CALL
     + r"|fmt::print\b",
     r"src/cli/.*|src/base/status\.cc|bench/.*", "use base/log.h, or return the text"),
    (NOT_A_MEMBER + r"(sprintf|vsprintf|snprintf)" + CALL, r"(?!)", "use fmt::format"),
    (NOT_A_MEMBER + r"(strcpy|strcat|strncpy|strncat|gets|strtok)" + CALL, r"(?!)",
     "use std::string or std::string_view"),
    (NOT_A_MEMBER + r"(rand|srand)" + CALL, r"(?!)",
     "use a generator that the caller seeds and owns"),
    (NOT_A_MEMBER + r"(gmtime|localtime|ctime|asctime)" + CALL, r"(?!)",
     "use base/clock.h and std::chrono"),
    (r"std::sto(i|l|ll|ul|ull|f|d|ld)\b|" + NOT_A_MEMBER
     + r"(atoi|atol|atoll|atof|strtol|strtoul|strtoll|strtoull|strtof|sscanf)" + CALL,
     r"bench/.*", "use std::from_chars"),
    (NOT_A_MEMBER + r"(system|popen|alloca)" + CALL, r"(?!)", "not in a server"),
    (NOT_A_MEMBER + r"assert" + CALL, r"(?!)", "use HEARTH_CHECK, which release builds keep"),
    (r"\busing\s+namespace\s+std\s*;", r"(?!)", "name what you use"),
    (r"std::(format|print|println)\b", r"(?!)", "use fmt, which both compilers have"),
    (r"\bstd::(shared_)?auto_ptr\b|\bstd::bind\b", r"(?!)", "use a lambda or std::unique_ptr"),
]
BANNED_IN_TESTS = [
    (r"\bsleep_(for|until)\b|" + NOT_A_MEMBER + r"(sleep|usleep|nanosleep)" + CALL,
     "wait for the event itself (a condition, a latch, a fake clock)"),
]


def check_banned(source):
    if not source.is_cpp:
        return
    rules = [(pattern, advice) for pattern, allowed, advice in BANNED
             if not re.fullmatch(allowed, source.path)]
    if source.is_test:
        rules += BANNED_IN_TESTS
    for pattern, advice in rules:
        for match in re.finditer(pattern, source.code):
            name = re.sub(r"[\s(]", "", match.group())
            yield source.finding(source.line_of(match.start()), "banned", f"{name}: {advice}")


# Written in two halves so that this file passes its own check.
UNFINISHED = re.compile(r"\b(" + "|".join(("TO" "DO", "FIX" "ME", "XX" "X", "HA" "CK")) + r")\b")
MACHINE_PATH = re.compile(r"(?<![\w.~$}/-])/(ho" r"me|ro" r"ot|wo" r"rk|Use" r"rs|tm" r"p)/\w")


def check_words(source):
    for number, line in enumerate(source.lines, 1):
        match = UNFINISHED.search(line)
        if match:
            yield source.finding(number, "unfinished", f"{match.group()}: finish it or leave it out")
        match = MACHINE_PATH.search(line)
        if match:
            yield source.finding(number, "machine-path",
                                 f"{match.group()}...: a path of one machine; make it relative")


RULES = [
    check_lines,
    check_file_length,
    check_functions,
    check_header,
    check_names,
    check_own_header,
    check_ladder,
    check_library_borders,
    check_banned,
    check_words,
]


def check(source):
    """All findings of one file, by line."""
    findings = [finding for rule in RULES for finding in rule(source)]
    return sorted(findings, key=lambda finding: finding.line)


def read_ladder(root):
    """The modules in the order of src/CMakeLists.txt, lowest rung first."""
    text = (root / "src" / "CMakeLists.txt").read_text()
    return re.findall(r"^add_subdirectory\((\w+)\)", text, flags=re.MULTILINE)


def project_files(root):
    """Relative paths of the text files that the rules are for."""
    for folder in TEXT_FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            relative = path.relative_to(root)
            if path.is_file() and path.suffix in TEXT_SUFFIXES:
                if not SKIPPED_FOLDERS.intersection(relative.parts):
                    yield relative.as_posix()
    for path in sorted(root.iterdir()):
        if path.is_file() and path.suffix in TEXT_SUFFIXES and path.name != "LICENSE":
            yield path.name


def main(arguments):
    root = pathlib.Path(arguments[0] if arguments else pathlib.Path(__file__).parents[2]).resolve()
    modules = read_ladder(root)
    num_files, findings = 0, []
    for path in project_files(root):
        try:
            text = (root / path).read_text()
        except UnicodeDecodeError:
            continue  # Not a text.
        num_files += 1
        findings += check(SourceFile(path, text, modules))
    for finding in findings:
        print(finding)
    print(f"{num_files} files, {len(findings)} findings")
    return 1 if findings or num_files == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
