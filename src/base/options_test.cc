#include "base/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/file.h"
#include "tests/support/temp_directory.h"

namespace hearth {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

enum class Backend { kAuto, kFast };

// One command with an option of every type, and a second command with one option of its own.
class OptionsTest : public ::testing::Test {
 protected:
  OptionsTest() {
    line_.set_version("tool 1.2");
    serve_ = &line_.add_command("serve", "Serve a model.");
    serve_->add_positional(model_, {.name = "model", .help = "The model."});
    serve_->add_positional(extra_, {.name = "extra", .help = "More.", .required = false});
    serve_->section("Server");
    serve_->add(port_, {.name = "port", .help = "TCP port."}, {1, 65535});
    serve_->add(api_keys_, {.name = "api-key", .help = "Keys.", .secret = true});
    serve_->add(timeout_, {.name = "timeout", .help = "Wait."}, {.min = 0, .max = 60'000});
    serve_->section("Engine");
    serve_->add(seqs_, {.name = "max-num-seqs", .help = "Sequences.", .advanced = true},
                {.min = 1});
    serve_->add(cache_, {.name = "prefix-cache", .help = "Reuse prefixes."});
    serve_->add(ratio_, {.name = "ratio", .help = "A share."}, {0.0, 1.0});
    serve_->add(memory_, {.name = "memory", .help = "Bytes."});
    serve_->add(backend_, {.name = "backend", .help = "Which."},
                {{"auto", Backend::kAuto}, {"fast", Backend::kFast}});
    serve_->add(level_, {.name = "log-level", .help = "Words."}, {"info", "debug"});
    serve_->add(name_, {.name = "name", .help = "A text."});
    serve_->add(path_, {.name = "path", .help = "A path."});
    OptionSet& bench = line_.add_command("bench", "Measure.");
    bench.add(runs_, {.name = "runs", .help = "How often."}, {1, 100});
    OptionSet& join = line_.add_command("files join", "Join files.");
    join.add_positional(files_, {.name = "file", .help = "Files."});
    join.add(counts_, {.name = "counts", .help = "Whole numbers."}, {1, 100});
    join.add(weights_, {.name = "weights", .help = "Numbers."}, {0.5, 9.0});
    line_.add_command("files cut", "Cut files.");
  }

  Result<ParsedCommand> parse(std::vector<std::string> arguments, Environment environment = {}) {
    return line_.parse(arguments, environment);
  }

  std::string error_of(std::vector<std::string> arguments, Environment environment = {}) {
    const auto parsed = parse(std::move(arguments), std::move(environment));
    return parsed.has_value() ? "no error" : parsed.error().message();
  }

  std::string config(std::string_view text) {
    EXPECT_TRUE(write_file_atomically(config_path_, text).ok());
    return config_path_;
  }

  CommandLine line_{"tool", "A tool."};
  OptionSet* serve_ = nullptr;
  const test::TempDirectory directory_;
  const std::string config_path_ = (directory_.path() / "config.yaml").string();
  std::string model_;
  std::string extra_;
  std::uint16_t port_ = 8080;
  std::vector<std::string> api_keys_;
  std::chrono::milliseconds timeout_{30'000};
  std::size_t seqs_ = 64;
  bool cache_ = true;
  double ratio_ = 0.5;
  ByteSize memory_{1 << 20};
  Backend backend_ = Backend::kAuto;
  std::string level_ = "info";
  std::string name_;
  std::filesystem::path path_ = "here";
  int runs_ = 3;
  std::vector<std::string> files_;
  std::vector<std::size_t> counts_ = {1, 5};
  std::vector<double> weights_;
};

TEST_F(OptionsTest, DefaultsStayWhenNothingIsGiven) {
  const auto parsed = parse({"serve", "m.gguf"});
  ASSERT_TRUE(parsed.has_value()) << parsed.error().message();
  EXPECT_EQ(parsed->command, "serve");
  EXPECT_EQ(model_, "m.gguf");
  EXPECT_EQ(port_, 8080);
  EXPECT_TRUE(cache_);
  EXPECT_EQ(serve_->summary(), "");
}

TEST_F(OptionsTest, FlagsSetEveryType) {
  const auto parsed = parse({"serve",
                             "--port",
                             "9000",
                             "m",
                             "--api-key=a,b",
                             "--api-key",
                             "c",
                             "--timeout",
                             "5s",
                             "--max-num-seqs=8",
                             "--no-prefix-cache",
                             "--ratio",
                             "0.25",
                             "--memory",
                             "2GiB",
                             "--backend=fast",
                             "--log-level",
                             "debug",
                             "--name=",
                             "--path",
                             "/x y",
                             "--",
                             "--e"});
  ASSERT_TRUE(parsed.has_value()) << parsed.error().message();
  EXPECT_EQ(port_, 9000);
  EXPECT_THAT(api_keys_, ElementsAre("a", "b", "c"));
  EXPECT_EQ(timeout_, std::chrono::seconds(5));
  EXPECT_EQ(seqs_, 8u);
  EXPECT_FALSE(cache_);
  EXPECT_EQ(ratio_, 0.25);
  EXPECT_EQ(memory_.bytes, 2ull << 30);
  EXPECT_EQ(backend_, Backend::kFast);
  EXPECT_EQ(level_, "debug");
  EXPECT_EQ(name_, "");
  EXPECT_EQ(path_, "/x y");
  EXPECT_EQ(model_, "m");
  EXPECT_EQ(extra_, "--e");
}

TEST_F(OptionsTest, AFlagWinsOverTheEnvironmentThatOverTheFileThatOverTheDefault) {
  const std::string path = config("port: 1001\nmax-num-seqs: 11\nratio: 0.1\n");
  const auto parsed = parse({"serve", "m", "--config", path, "--port", "1003"},
                            {{"HEARTH_PORT", "1002"}, {"HEARTH_MAX_NUM_SEQS", "12"}});
  ASSERT_TRUE(parsed.has_value()) << parsed.error().message();
  EXPECT_EQ(port_, 1003);
  EXPECT_EQ(seqs_, 12u);
  EXPECT_EQ(ratio_, 0.1);
  EXPECT_EQ(memory_.bytes, 1u << 20);
  EXPECT_THAT(serve_->summary(), HasSubstr("port=1003 (flag --port)"));
  EXPECT_THAT(serve_->summary(),
              HasSubstr("max-num-seqs=12 (environment variable HEARTH_MAX_NUM_SEQS)"));
  EXPECT_THAT(serve_->summary(), HasSubstr("line 3, key ratio"));
}

TEST_F(OptionsTest, TheFileMayBeNamedByTheEnvironmentAndHoldLists) {
  const std::string path = config("api-key: [one, two]\nprefix-cache: off\nruns: 5\n");
  ASSERT_TRUE(parse({"serve", "m"}, {{"HEARTH_CONFIG", path}}).has_value());
  EXPECT_THAT(api_keys_, ElementsAre("one", "two"));
  EXPECT_FALSE(cache_);
  EXPECT_EQ(runs_, 3) << "belongs to another command";
}

TEST_F(OptionsTest, AListReplacesTheListOfAWeakerSource) {
  ASSERT_TRUE(parse({"serve", "m", "--api-key", "x"}, {{"HEARTH_API_KEY", "a,b"}}).has_value());
  EXPECT_THAT(api_keys_, ElementsAre("x"));
}

TEST_F(OptionsTest, ACommandOfAGroupIsNamedByTwoWords) {
  const auto parsed = parse({"files", "join", "a", "b", "c", "--counts", "2,3", "--counts=4"},
                            {{"HEARTH_WEIGHTS", "0.5,1.25"}});
  ASSERT_TRUE(parsed.has_value()) << parsed.error().message();
  EXPECT_EQ(parsed->command, "files join");
  EXPECT_THAT(files_, ElementsAre("a", "b", "c"));
  EXPECT_THAT(counts_, ElementsAre(2u, 3u, 4u));
  EXPECT_THAT(weights_, ElementsAre(0.5, 1.25));
  EXPECT_TRUE(parse({"files", "cut"}).has_value());
}

TEST_F(OptionsTest, AGroupHelpsAndRefusesLikeACommand) {
  EXPECT_EQ(error_of({"files"}), "files is a group of commands; see tool files --help");
  EXPECT_EQ(error_of({"files", "joyn"}), "unknown command 'files joyn'; did you mean files join?");
  EXPECT_EQ(error_of({"files", "join"}), "command files join needs the argument <file>");
  EXPECT_EQ(error_of({"files", "join", "a", "--counts", "2,0"}),
            "flag --counts: 0 is out of bounds: 1 to 100");
  EXPECT_EQ(error_of({"files", "join", "a", "--counts="}),
            "flag --counts: needs at least one number");
  EXPECT_EQ(parse({"files", "--help"})->text,
            "Usage: tool files <command> [options]\n\nCommands:\n  files join  Join files.\n"
            "  files cut   Cut files.\n\n"
            "See tool files <command> --help for the options of a command.\n");
  EXPECT_THAT(parse({"files", "join", "-h"})->text,
              HasSubstr("Usage: tool files join [options] <file>...\n"));
  EXPECT_THAT(line_.markdown(), HasSubstr("## tool files join"));
  EXPECT_THAT(line_.markdown(), HasSubstr("| `--counts N[,...]` | `1,5` | 1 to 100 |"));
}

TEST_F(OptionsTest, WhatKubernetesInjectsForAServiceOfOurNameIsSkipped) {
  const auto parsed = parse({"serve", "m"}, {{"HEARTH_SERVICE_HOST", "10.0.0.1"},
                                             {"HEARTH_SERVICE_PORT_HTTP", "80"},
                                             {"HEARTH_PORT", "tcp://10.0.0.1:80"},
                                             {"HEARTH_PORT_80_TCP", "tcp://10.0.0.1:80"},
                                             {"HEARTH_PORT_80_TCP_PROTO", "tcp"}});
  EXPECT_TRUE(parsed.has_value()) << parsed.error().to_string();
}

TEST_F(OptionsTest, UnknownNamesAreRefusedWithASuggestion) {
  EXPECT_EQ(error_of({"serv"}), "unknown command 'serv'; did you mean serve?");
  EXPECT_EQ(error_of({"serve", "m", "--max-num-seq=3"}),
            "unknown flag --max-num-seq of command serve; did you mean --max-num-seqs?");
  EXPECT_EQ(error_of({"serve", "m", "--zzzzzzzz"}), "unknown flag --zzzzzzzz of command serve");
  EXPECT_EQ(error_of({"serve", "m", "-p"}), "unknown flag -p of command serve");
  EXPECT_EQ(error_of({"serve", "m"}, {{"HEARTH_PROT", "1"}}),
            "unknown environment variable HEARTH_PROT; did you mean HEARTH_PORT?");
  EXPECT_THAT(error_of({"serve", "m", "--config", config("port: 1\nratoi: 1\n")}),
              HasSubstr("line 2, key ratoi: unknown key; did you mean ratio?"));
}

TEST_F(OptionsTest, WrongValuesNameTheSourceTheValueAndTheBounds) {
  EXPECT_EQ(error_of({"serve", "m", "--port", "0"}), "flag --port: 0 is out of bounds: 1 to 65535");
  EXPECT_EQ(error_of({"serve", "m"}, {{"HEARTH_PORT", "70000"}}),
            "environment variable HEARTH_PORT: 70000 is out of bounds: 1 to 65535");
  EXPECT_THAT(error_of({"serve", "m", "--config", config("\nmax-num-seqs: 0\n")}),
              HasSubstr("line 2, key max-num-seqs: 0 is out of bounds: at least 1"));
  EXPECT_THAT(error_of({"serve", "m", "--max-num-seqs", "-1"}), HasSubstr("at least 1"));
  EXPECT_EQ(error_of({"serve", "m", "--backend=slow"}),
            "flag --backend: 'slow' is not one of auto, fast");
  EXPECT_THAT(error_of({"serve", "m", "--prefix-cache=maybe"}), HasSubstr("'maybe' is not one of"));
  EXPECT_THAT(error_of({"serve", "m", "--timeout", "2m"}),
              HasSubstr("2m is out of bounds: 0 to 1m"));
  EXPECT_THAT(error_of({"serve", "m"}, {{"HEARTH_PORT", ""}}), HasSubstr("'' is not a whole"));
}

TEST_F(OptionsTest, AMalformedWeakerSourceIsRefusedEvenIfOverridden) {
  EXPECT_THAT(error_of({"serve", "m", "--port", "80"}, {{"HEARTH_PORT", "x"}}),
              HasSubstr("HEARTH_PORT"));
}

TEST_F(OptionsTest, RepeatedMissingAndSurplusArgumentsAreRefused) {
  EXPECT_EQ(error_of({"serve", "m", "--port", "1", "--port", "2"}), "flag --port is given twice");
  EXPECT_EQ(error_of({"serve", "m", "--name"}), "flag --name needs a value");
  EXPECT_EQ(error_of({"serve", "m", "--name", "--port", "1"}), "flag --name needs a value");
  EXPECT_EQ(error_of({"serve", "m", "--no-prefix-cache=1"}),
            "flag --no-prefix-cache takes no value, got '1'");
  EXPECT_EQ(error_of({"serve"}), "command serve needs the argument <model>");
  EXPECT_EQ(error_of({"serve", "a", "b", "c"}), "unexpected argument 'c' of command serve");
  EXPECT_EQ(error_of({}), "no command given; see tool --help");
}

TEST_F(OptionsTest, BadFilesAreRefusedWithTheLine) {
  EXPECT_THAT(error_of({"serve", "m", "--config", "missing.yaml"}), HasSubstr("missing.yaml"));
  EXPECT_THAT(error_of({"serve", "m", "--config", config("port: 1\nport: 2\n")}),
              HasSubstr("line 2: key port is given twice"));
  EXPECT_THAT(error_of({"serve", "m", "--config", config("port: [1, 2]\n")}),
              HasSubstr("expected one value, got a sequence of 2"));
  EXPECT_THAT(error_of({"serve", "m", "--config", config("port:\n  a: 1\n")}),
              HasSubstr("must have a value"));
  EXPECT_THAT(error_of({"serve", "m", "--config", config("- port\n")}),
              HasSubstr("expected 'option-name: value' lines"));
  EXPECT_THAT(error_of({"serve", "m", "--config", config("port: [1\n")}),
              HasSubstr("not valid YAML"));
  EXPECT_TRUE(parse({"serve", "m", "--config", config("# nothing\n")}).has_value());
}

TEST_F(OptionsTest, SecretsAreNotShown) {
  ASSERT_TRUE(parse({"serve", "m", "--api-key", "hush"}).has_value());
  EXPECT_EQ(serve_->summary(), "api-key=*** (flag --api-key)");
}

TEST_F(OptionsTest, HelpListsEverythingOfTheCommand) {
  const auto parsed = parse({"serve", "--port", "bad", "--help"});
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->command, "");
  EXPECT_THAT(parsed->text, HasSubstr("Usage: tool serve [options] <model> [<extra>]"));
  EXPECT_THAT(parsed->text,
              HasSubstr("--port N\n      TCP port.\n      default: 8080; allowed: 1 to "
                        "65535; environment: HEARTH_PORT\n"));
  EXPECT_THAT(parsed->text, HasSubstr("--prefix-cache, --no-prefix-cache"));
  EXPECT_THAT(parsed->text, HasSubstr("default: 1MiB"));
  EXPECT_LT(parsed->text.find("Server:"), parsed->text.find("Engine:"));
  EXPECT_LT(parsed->text.find("--log-level"), parsed->text.find("--max-num-seqs N  (advanced)"));
  EXPECT_THAT(parsed->text, Not(HasSubstr("--runs")));
}

TEST_F(OptionsTest, TheProgramDescribesItself) {
  EXPECT_THAT(parse({"--help"})->text,
              HasSubstr("  serve       Serve a model.\n  bench       Measure.\n"));
  EXPECT_EQ(parse({"--version"})->text, "tool 1.2");
}

TEST_F(OptionsTest, TheDocumentationHoldsEveryOptionOfEveryCommand) {
  const std::string text = line_.markdown();
  EXPECT_THAT(text, HasSubstr("## tool serve"));
  EXPECT_THAT(text, HasSubstr("| `--port N` | `8080` | 1 to 65535 | `HEARTH_PORT` | TCP port. |"));
  EXPECT_THAT(text, HasSubstr("| `--runs N` | `3` | 1 to 100 | `HEARTH_RUNS` | How often. |"));
}

TEST_F(OptionsTest, WrongDeclarationsEndTheProcess) {
  int number = 0;
  EXPECT_DEATH(serve_->add(number, {.name = "port", .help = "Again."}), "broken invariant");
  EXPECT_DEATH(serve_->add(number, {.name = "Bad_Name", .help = "x"}), "broken invariant");
  EXPECT_DEATH(serve_->add(number, {.name = "low", .help = "x"}, {.min = 1}), "broken invariant");
}

TEST(ReadEnvironment, TakesOnlyTheProgramsOwnVariables) {
  ::setenv("HEARTH_TEST_VARIABLE", "a=b", 1);
  ::setenv("OTHER_TEST_VARIABLE", "c", 1);
  const Environment environment = read_environment();
  ::unsetenv("HEARTH_TEST_VARIABLE");
  EXPECT_EQ(environment.at("HEARTH_TEST_VARIABLE"), "a=b");
  EXPECT_EQ(environment.count("OTHER_TEST_VARIABLE"), 0u);
}

}  // namespace
}  // namespace hearth
