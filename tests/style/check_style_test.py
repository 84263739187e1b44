#!/usr/bin/env python3
"""Feeds every rule of check_style.py text that breaks it, and text that does not."""

import pathlib
import sys
import tempfile
import unittest

import check_style

MODULES = ["base", "metrics", "kernels", "engine", "server", "cli"]


def rules_broken(text, path="src/engine/engine.cc"):
    return {finding.rule for finding in check_style.check(check_style.SourceFile(path, text, MODULES))}


def function_of(num_lines, head="void work()"):
    body = "".join("  step();\n" for _ in range(num_lines - 2))
    return f"{head} {{\n{body}}}\n"


class LineRules(unittest.TestCase):
    def test_columns(self):
        self.assertEqual(rules_broken("//" + "x" * 98 + "\n"), set())
        self.assertEqual(rules_broken("//" + "x" * 99 + "\n"), {"columns"})
        self.assertEqual(rules_broken("x" * 200 + "\n", "docs/a.md"), set())

    def test_blanks_tabs_and_last_line(self):
        self.assertEqual(rules_broken("int a; \n"), {"blank-at-end"})
        self.assertEqual(rules_broken("\tint a;\n"), {"tab"})
        self.assertEqual(rules_broken("int a;"), {"last-line"})

    def test_ascii(self):
        self.assertEqual(rules_broken('auto a = "\u00e9";\n'), {"ascii"})
        self.assertEqual(rules_broken("caf\u00e9\n", "docs/a.md"), set())

    def test_unfinished_words(self):
        for word in ("TO" + "DO", "FIX" + "ME", "XX" + "X"):
            self.assertEqual(rules_broken(f"// {word}: later\n"), {"unfinished"})
            self.assertEqual(rules_broken(f"# {word}\n", "tools/a.py"), {"unfinished"})
        self.assertEqual(rules_broken("// pattern XXXXXX of mkstemp\n"), set())

    def test_machine_paths(self):
        self.assertEqual(rules_broken('auto a = "/ho" "me/me/x";\n'.replace('" "', "")),
                         {"machine-path"})
        self.assertEqual(rules_broken("see $build/t" + "mp/x and a/ro" + "ot/b\n", "tools/a.sh"), set())


class SizeRules(unittest.TestCase):
    def test_function_length(self):
        self.assertEqual(rules_broken(function_of(70)), set())
        self.assertEqual(rules_broken(function_of(71)), {"function-length"})
        self.assertEqual(rules_broken(function_of(71, "TEST(A, DoesB)")), {"function-length"})

    def test_function_length_inside_containers(self):
        for open_text in ("namespace a::b {", "class A : public B {", "struct A final {",
                          "template <class T, typename = void()>\nclass A {", 'extern "C" {'):
            text = open_text + "\n" + function_of(71) + "}\n"
            self.assertEqual(rules_broken(text), {"function-length"}, open_text)
            text = open_text + "\n" + function_of(40) + function_of(40) + "}\n"
            self.assertEqual(rules_broken(text), set(), open_text)

    def test_function_length_after_a_constructor_with_braces(self):
        self.assertEqual(rules_broken("A::A() : a_{1}, b_{2} {}\n" + function_of(71)),
                         {"function-length"})

    def test_tables_are_not_functions(self):
        rows = "    {1, 2},\n" * 90
        self.assertEqual(rules_broken("constexpr Row kRows[] = {\n" + rows + "};\n"), set())
        self.assertEqual(rules_broken("auto k = std::to_array<R>({\n" + rows + "});\n"), set())

    def test_raw_text_does_not_make_a_function_long(self):
        text = 'auto page = R"x(' + "line\n" * 90 + ')x";'
        self.assertEqual(rules_broken("void f() {\n" + text + "\n}\n"), set())
        self.assertEqual(rules_broken("void f() {\n" + text + "\n" + function_of(71) + "}\n"),
                         {"function-length"})

    def test_braces_in_comments_and_literals_do_not_count(self):
        text = function_of(40, "void a()").replace("step();", 'step("}{", \'{\');  // {{{', 1)
        self.assertEqual(rules_broken(text + function_of(40, "void b()")), set())
        raw = 'auto a = R"({"x": "{{{)";\n'
        self.assertEqual(rules_broken(raw + function_of(71)), {"function-length"})

    def test_digit_separators_are_not_literals(self):
        self.assertEqual(rules_broken("int a = 1'000; int b = 2'0;\n" + function_of(71)),
                         {"function-length"})

    def test_file_length(self):
        self.assertEqual(rules_broken("int a;\n" * 1000), set())
        self.assertEqual(rules_broken("int a;\n" * 1001), {"file-length"})
        self.assertEqual(rules_broken("int a;\n" * 1001, "src/engine/unicode_tables.cc"), set())

    def test_parameters(self):
        def head(count):
            return "void f(" + ", ".join(f"A<B, C> p{i}" for i in range(count)) + ") {}\n"
        self.assertEqual(rules_broken(head(5)), set())
        self.assertEqual(rules_broken(head(6)), {"parameters"})
        self.assertEqual(rules_broken("template <typename A, int B>\n" + head(6)), {"parameters"})
        self.assertEqual(rules_broken("A::A(int a, int b, int c) : d(a, b, c, 1, 2, 3) {}\n"), set())


class NameRules(unittest.TestCase):
    def test_pragma_once(self):
        self.assertEqual(rules_broken("int a;\n", "src/engine/a.h"), {"pragma-once"})
        self.assertEqual(rules_broken("#pragma once\n", "src/engine/a.h"), set())

    def test_file_names(self):
        self.assertEqual(rules_broken("int a;\n", "src/engine/MyFile.cc"), {"file-name"})


class IncludeRules(unittest.TestCase):
    def test_own_header_first(self):
        own, other = '#include "engine/engine.h"\n', "#include <vector>\n"
        self.assertEqual(rules_broken(own + other), set())
        self.assertEqual(rules_broken(other), set())
        self.assertEqual(rules_broken(other + own), {"own-header-first"})

    def test_ladder(self):
        self.assertEqual(rules_broken('#include "base/status.h"\n'), set())
        self.assertEqual(rules_broken('#include "engine/request.h"\n'), set())
        self.assertEqual(rules_broken('#include "server/routes.h"\n'), {"ladder"})
        self.assertEqual(rules_broken('#include "tests/helper.h"\n'), {"ladder"})
        self.assertEqual(rules_broken('#include "tests/helper.h"\n', "src/engine/a_test.cc"), set())
        self.assertEqual(rules_broken('#include "server/routes.h"\n', "tests/e2e/a.cc"), set())

    def test_paths_are_relative_to_src(self):
        for name in ("request.h", "../base/status.h", "unknown/a.h"):
            self.assertEqual(rules_broken(f'#include "{name}"\n'), {"include-path"}, name)

    def test_libraries_stay_behind_their_borders(self):
        cases = [
            ("immintrin.h", "src/kernels/avx2.cc"),
            ("hwy/highway.h", "src/kernels/a.cc"),
            ("boost/beast/core.hpp", "src/server/http_server.cc"),
            ("boost/asio.hpp", "src/server/http_server_test.cc"),
            ("nlohmann/json.hpp", "src/base/json.cc"),
            ("yaml-cpp/yaml.h", "src/base/config_file.cc"),
            ("spdlog/logger.h", "src/base/log.cc"),
            ("prometheus/registry.h", "src/metrics/metrics.cc"),
            ("gtest/gtest.h", "src/base/json_test.cc"),
            ("iostream", "src/cli/main.cc"),
        ]
        for name, allowed in cases:
            text = f"#include <{name}>\n"
            self.assertEqual(rules_broken(text), {"library-border"}, name)
            self.assertEqual(rules_broken(text, allowed), set(), name)
        for name in ("regex", "cassert", "format"):
            self.assertEqual(rules_broken(f"#include <{name}>\n"), {"library-border"}, name)


class BannedCalls(unittest.TestCase):
    def test_every_banned_call_is_found(self):
        for call in ("abort()", "std::exit(1)", "std::cout << 1", "printf(s)", "::fprintf(f, s)",
                     "fmt::print(s)", "sprintf(a, b)", "strcpy(a, b)", "rand()", "std::gmtime(&t)",
                     "localtime(&t)", "std::stoi(s)", "atof(s)", "std::strtoull(s)", "assert(x)",
                     "system(s)", "std::format(s)"):
            self.assertEqual(rules_broken(f"void f() {{ {call}; }}\n"), {"banned"}, call)

    def test_similar_names_are_not(self):
        for call in ("static_assert(x)", "loop.exit()", "log::exit(1)", "gmtime_r(&t, &out)",
                     "my_abort()", '"std::stoi("', "std::printf_like", "engine->abort()"):
            text = f"void f() {{ {call}; }}\n".replace("->", ".")
            self.assertEqual(rules_broken(text), set(), call)
        self.assertEqual(rules_broken("// std::stoi(x) throws\n"), set())

    def test_the_command_line_may_print_and_exit(self):
        self.assertEqual(rules_broken("void f() { std::cout << 1; std::exit(1); }\n", "src/cli/a.cc"),
                         set())

    def test_tests_do_not_sleep(self):
        text = "void f() { std::this_thread::sleep_for(x); }\n"
        self.assertEqual(rules_broken(text, "src/engine/engine_test.cc"), {"banned"})
        self.assertEqual(rules_broken(text), set())


class WholeTree(unittest.TestCase):
    def test_findings_make_the_program_fail(self):
        with tempfile.TemporaryDirectory() as name:
            root = pathlib.Path(name)
            (root / "src" / "base").mkdir(parents=True)
            (root / "src" / "CMakeLists.txt").write_text("add_subdirectory(base)\n")
            source = root / "src" / "base" / "a.cc"
            source.write_text("int a;\n")
            self.assertEqual(check_style.main([name]), 0)
            source.write_text("int a = rand();\n")
            self.assertEqual(check_style.main([name]), 1)

    def test_the_ladder_is_that_of_the_build(self):
        root = pathlib.Path(__file__).parents[2]
        modules = check_style.read_ladder(root)
        self.assertEqual((modules[0], modules[-1]), ("base", "cli"))


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    unittest.main()
