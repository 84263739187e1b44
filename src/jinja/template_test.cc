#include "jinja/template.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <random>
#include <stop_token>
#include <thread>

#include "base/file.h"
#include "base/json.h"

namespace hearth::jinja {
namespace {

constexpr std::time_t kNow = 1732190400;  // 2024-11-21 12:00 UTC

std::filesystem::path golden_folder() {
  const char* root = std::getenv("HEARTH_SOURCE_DIR");
  return std::filesystem::path(root == nullptr ? "." : root) / "tests/golden/jinja";
}

std::string read_text(const std::filesystem::path& path) {
  auto file = MappedFile::open(path.string());
  EXPECT_TRUE(file.has_value()) << path;
  if (!file) return {};
  const auto bytes = file->bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

json::Value read_json(const std::filesystem::path& path) {
  auto value = json::parse(read_text(path));
  EXPECT_TRUE(value.has_value()) << path << ": " << (value ? "" : value.error().message());
  return value ? *value : json::Value();
}

Result<Rendered> render(std::string_view source, const json::Object& variables,
                        const Limits& limits = {}) {
  HEARTH_ASSIGN_OR_RETURN(const auto compiled, Template::compile(source, limits));
  return compiled.render({.variables = variables,
                          .trusted = {"bos_token"},
                          .now = std::chrono::system_clock::from_time_t(kNow)});
}

std::string text_of(const Result<Rendered>& rendered) {
  return rendered ? rendered->text : "error: " + rendered.error().message();
}

std::string message_of(const Result<Rendered>& rendered) {
  return rendered ? "no error: " + rendered->text : rendered.error().message();
}

// The output with the bytes that came from the input in brackets.
std::string marked(const Result<Rendered>& rendered) {
  if (!rendered) return text_of(rendered);
  std::string out;
  std::size_t begin = 0;
  for (const Marks::Run& run : rendered->runs) {
    const std::string part = rendered->text.substr(begin, run.end - begin);
    out += run.origin == Origin::kInput ? "[" + part + "]" : part;
    begin = run.end;
  }
  return out;
}

json::Object object(std::string_view text) {
  auto value = json::parse(text);
  EXPECT_TRUE(value.has_value()) << text;
  return value ? *value->as_object() : json::Object();
}

// A render that nothing but its owner ends.
Result<Rendered> render_endlessly(std::stop_token stop) {
  constexpr Limits kNoLimits{.max_steps = SIZE_MAX, .max_value_bytes = SIZE_MAX};
  const auto compiled = Template::compile(
      "{% for a in range(100000) %}{% for b in range(100000) %}{% for c in range(100000) %}"
      "{% endfor %}{% endfor %}{% endfor %}",
      kNoLimits);
  return compiled->render({.variables = {}, .trusted = {}, .now = {}, .stop = std::move(stop)});
}

TEST(Stopping, EndsARenderThatHasNotBegun) {
  std::stop_source source;
  source.request_stop();
  const auto rendered = render_endlessly(source.get_token());
  ASSERT_FALSE(rendered.has_value());
  EXPECT_EQ(rendered.error().code(), StatusCode::kCancelled);
}

TEST(Stopping, EndsARunningRender) {
  StatusCode code = StatusCode::kOk;
  {
    const std::jthread running([&code](std::stop_token stop) {
      const auto rendered = render_endlessly(std::move(stop));
      if (!rendered) code = rendered.error().code();
    });
  }  // Asks for the stop and waits.
  EXPECT_EQ(code, StatusCode::kCancelled);
}

// --- golden data ---

void expect_golden(const std::string& source, const json::Object& context,
                   const json::Object& expected) {
  const auto rendered = render(source, context);
  if (const json::Value* output = expected.find("output")) {
    EXPECT_EQ(text_of(rendered), *output->as_string()) << source;
  } else {
    EXPECT_FALSE(rendered.has_value()) << source << "\nrendered: " << text_of(rendered);
  }
}

class GoldenCases : public testing::TestWithParam<const char*> {};

TEST_P(GoldenCases, RenderAsJinja2Does) {
  setenv("TZ", "UTC0", 1);
  const json::Value golden = read_json(golden_folder() / GetParam());
  ASSERT_NE(golden.as_object(), nullptr);
  const json::Object& context = *golden.as_object()->find("context")->as_object();
  const json::Array& cases = *golden.as_object()->find("cases")->as_array();
  EXPECT_GT(cases.size(), 100u);
  for (const json::Value& one : cases) {
    const json::Object& expected = *one.as_object();
    expect_golden(*expected.find("template")->as_string(), context, expected);
  }
}

INSTANTIATE_TEST_SUITE_P(Jinja, GoldenCases,
                         testing::Values("expressions.golden.json", "statements.golden.json"));

TEST(GoldenFamilies, RenderAsJinja2Does) {
  setenv("TZ", "UTC0", 1);
  const json::Value golden = read_json(golden_folder() / "families.golden.json");
  const json::Value conversations = read_json(golden_folder() / "conversations.json");
  ASSERT_NE(golden.as_object(), nullptr);
  ASSERT_NE(conversations.as_object(), nullptr);
  std::map<std::string, std::string> sources;
  for (const json::Value& one : *golden.as_object()->find("cases")->as_array()) {
    const json::Object& expected = *one.as_object();
    const std::string& name = *expected.find("template")->as_string();
    if (!sources.contains(name))
      sources[name] = read_text(golden_folder() / "templates" / (name + ".jinja"));
    const std::string& context = *expected.find("context")->as_string();
    SCOPED_TRACE(name + " with " + context);
    expect_golden(sources[name], *conversations.as_object()->find(context)->as_object(), expected);
  }
  EXPECT_EQ(sources.size(), 11u);
}

// --- input marking ---

TEST(InputMarking, KeepsTheOriginOfEveryByte) {
  const json::Object context =
      object(R"({"s": "In", "l": ["a", "b"], "bos_token": "<s>", "n": 7})");
  const std::pair<const char*, const char*> cases[] = {
      {"a{{ s }}b", "a[In]b"},
      {"{{ '<' + s + '>' }}", "<[In]>"},
      {"{{ '<' ~ s|upper ~ '>' }}", "<[IN]>"},
      {"{{ ('  ' ~ s ~ '  ')|trim }}", "[In]"},
      {"{{ ('ab' ~ s)[1:3] }}", "b[I]"},
      {"{{ ('ab' ~ s)[::-1] }}", "[nI]ba"},
      {"{{ ('x' ~ s)|replace('x', 'yy') }}", "yy[In]"},
      {"{{ 'xIx'|replace('I', s) }}", "x[In]x"},
      {"{{ l|join('-') }}", "[a]-[b]"},
      {"{{ '-'.join(l) }}", "[a]-[b]"},
      {"{{ '%s|%s' % (s, 'c') }}", "[In]|c"},
      {"{{ '{}|{}'.format('c', s) }}", "c|[In]"},
      {"{{ ('a,' ~ s).split(',')[1] }}", "[In]"},
      {"{{ {'k': s}|tojson }}", "{\"k\": [\"In\"]}"},
      {"{{ l|tojson }}", "[[\"a\", \"b\"]]"},
      {"{{ n }}", "[7]"},
      {"{{ n + 1 }}", "[8]"},
      {"{{ bos_token }}", "<s>"},
      {"{{ bos_token ~ s }}", "<s>[In]"},
      {"{% set x %}a{{ s }}{% endset %}{{ x }}", "a[In]"},
      {"{% macro m(v) %}<{{ v }}>{% endmacro %}{{ m(s) }}", "<[In]>"},
      {"{% filter upper %}a{{ s }}{% endfilter %}", "A[IN]"},
      {"{{ s|center(6) }}", "  [In]  "},
      {"{{ (s ~ '\\nb')|indent(2) }}", "[In]\n  b"},
      {"{{ s|e }}{{ s|safe }}", "[InIn]"},
      {"{{ s|list|first }}", "[I]"},
      {"{{ s|urlencode }}{{ s|title }}", "[InIn]"},
      {"{{ [s] }}", "['[In]']"},
      {"{% for k in {'a': 1} %}{{ k }}{{ s }}{% endfor %}", "a[In]"},
      {"{{ 2 * s }}{{ 'a' * 2 }}", "[InIn]aa"},
      {"{{ s|length }}", "2"},
  };
  for (const auto& [source, expected] : cases)
    EXPECT_EQ(marked(render(source, context)), expected) << source;
}

TEST(InputMarking, SurvivesAppendingToSharedPrefixes) {
  // Both sums begin with the same text: the second must not see what the first appended in place.
  const json::Object context = object(R"({"s": "In"})");
  EXPECT_EQ(
      marked(render(
          "{% set a = 'x' ~ 'y' %}{% set b = a + s %}{% set c = a + 'z' %}{{ b }} {{ c }} {{ a }}",
          context)),
      "xy[In] xyz xy");
}

TEST(InputMarking, CoversTheTextWithAlternatingRuns) {
  const auto rendered =
      render("{% for i in l %}{{ i }}{{ i }}-{% endfor %}", object(R"({"l": ["a", "b"]})"));
  ASSERT_TRUE(rendered.has_value());
  ASSERT_EQ(rendered->runs.size(), 4u);
  EXPECT_EQ(rendered->runs.back().end, rendered->text.size());
}

// --- refusals ---

TEST(Refusal, NamesLineAndColumn) {
  EXPECT_EQ(message_of(render("a\n  {{ b.c.d }}", {})),
            "'b' is undefined (template line 2, column 7)");
  EXPECT_EQ(message_of(render("{{ 1 +\n}}", {})),
            "expected an expression, got '}}' (template line 2, column 1)");
  EXPECT_EQ(message_of(render("{{ raise_exception('No ' ~ 'way') }}", {})),
            "No way (template line 1, column 19)");
}

TEST(Refusal, CoversWhatLoadsOtherTemplates) {
  for (const char* tag :
       {"include 'a'", "import 'a' as b", "from 'a' import b", "extends 'a'", "autoescape true"}) {
    const auto compiled = Template::compile(std::string("{% ") + tag + " %}", {});
    ASSERT_FALSE(compiled.has_value()) << tag;
    EXPECT_EQ(compiled.error().code(), StatusCode::kUnimplemented) << tag;
  }
}

TEST(Refusal, CoversAttributesOutsideTheSandbox) {
  EXPECT_EQ(text_of(render("{{ [].append is defined }}{{ ''.__class__ is defined }}", {})),
            "FalseFalse");
  EXPECT_FALSE(render("{{ [].append(1) }}", {}).has_value());
  EXPECT_FALSE(render("{{ ''.__class__.__mro__ }}", {}).has_value());
  EXPECT_FALSE(render("{{ {}.update({}) }}", {}).has_value());
}

TEST(Refusal, RejectsInvalidUtf8) {
  EXPECT_EQ(Template::compile("a\xFF", {}).error().message(),
            "the template is not valid UTF-8 at byte 1");
}

TEST(Refusal, ReportsIntegersBeyond64Bits) {
  for (const char* source : {"{{ 9223372036854775807 + 1 }}", "{{ 2 ** 63 }}",
                             "{{ 10 ** 10 * 10 ** 10 }}", "{{ -(-9223372036854775807 - 1) }}"}) {
    const auto rendered = render(source, {});
    ASSERT_FALSE(rendered.has_value()) << source;
    EXPECT_EQ(rendered.error().code(), StatusCode::kOutOfRange) << source;
  }
}

// --- limits ---

TEST(Limits, StopRunawayTemplates) {
  const Limits limits{.max_steps = 100'000,
                      .max_output_bytes = 1 << 20,
                      .max_value_bytes = 8 << 20,
                      .max_depth = 32};
  const char* sources[] = {
      "{% for a in range(1000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}",
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{{ 'x' * 100000000 }}",
      "{{ [1] * 100000000 }}",
      "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% "
      "endfor %}",
      "{% set ns = namespace(s=['x']) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% "
      "endfor %}{{ ns.s }}",
      "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}",
      "{% set ns = namespace(s=[]) %}{% for i in range(300) %}{% set ns.s = [ns.s] %}{% endfor "
      "%}{{ ns.s|tojson }}",
      "{% set ns = namespace(s=['x'], t=['x']) %}{% for i in range(60) %}{% set ns.s = [ns.s, "
      "ns.s] %}{% set ns.t = [ns.t, ns.t] %}{% endfor %}{{ ns.s == ns.t }}",
      "{% set ns = namespace(s=(1,)) %}{% for i in range(60) %}{% set ns.s = (ns.s, ns.s) %}{% "
      "endfor %}{{ {ns.s: 1} }}",
      "{% for i in range(2000) %}{{ 'x' * 1000 }}{% endfor %}",
      "{{ range(100001) }}",
      "{{ '%1000000000d' % 1 }}",
      "{{ '{:>1000000000}'.format(1) }}",
      "{{ 'a'|center(1000000000) }}",
      "{{ 'aaaa'|indent(1000000000) }}",
      "{{ ('a' * 100000)|replace('a', 'b' * 100000) }}",
      "{% for i in [[]] recursive %}{{ loop([[]]) }}{% endfor %}",
      "{{ strftime_now('%9999d') }}",
  };
  for (const char* source : sources) {
    const auto rendered = render(source, {}, limits);
    ASSERT_FALSE(rendered.has_value()) << source;
    EXPECT_EQ(rendered.error().code(), StatusCode::kOutOfRange)
        << source << ": " << rendered.error().message();
  }
}

TEST(Limits, StopDeepSources) {
  const auto repeat = [](std::string_view part, std::size_t times) {
    std::string out;
    for (std::size_t i = 0; i < times; ++i)
      out += part;
    return out;
  };
  constexpr std::size_t kDeep = 100'000;
  const std::string sources[] = {"{{ " + repeat("(", kDeep) + "1" + repeat(")", kDeep) + " }}",
                                 "{{ " + repeat("[", kDeep),
                                 "{{ " + repeat("not ", kDeep) + "1 }}",
                                 "{{ " + repeat("-", kDeep) + "1 }}",
                                 "{{ 1" + repeat(" + 1", kDeep) + " }}",
                                 "{{ 1" + repeat("|abs", kDeep) + " }}",
                                 "{{ a" + repeat(".b", kDeep) + " }}",
                                 repeat("{% if 1 %}", kDeep),
                                 "{{ " + repeat("1 if 1 else ", kDeep) + "1 }}",
                                 "{{ a" + repeat("[0", kDeep),
                                 "{{ a" + repeat("(", kDeep),
                                 "{% for " + repeat("(", kDeep)};
  for (const std::string& source : sources) {
    const auto compiled = Template::compile(source, {});
    ASSERT_FALSE(compiled.has_value()) << source.substr(0, 40);
    EXPECT_EQ(compiled.error().code(), StatusCode::kOutOfRange) << source.substr(0, 40);
  }
}

TEST(Limits, LeaveLongChainsAlone) {
  std::string source = "{{ 0";
  for (int i = 0; i < 400; ++i)
    source += " + 1";
  EXPECT_EQ(text_of(render(source + " }}", {})), "400");
}

// --- work that the shape of the input must not multiply ---

// Distinct texts with one std::hash, by inverting a round of libstdc++'s (MurmurHash64A).
std::vector<std::string> colliding_texts(std::size_t count) {
  constexpr std::uint64_t kMul = 0xc6a4a7935bd1e995u;
  constexpr std::uint64_t kSize = 2 * sizeof(std::uint64_t);
  std::uint64_t inverse = 1;  // Of kMul, by Newton's method.
  for (int i = 0; i < 6; ++i)
    inverse *= 2 - kMul * inverse;
  const auto mix = [](std::uint64_t word) {
    word *= kMul;
    return (word ^ word >> 47) * kMul;
  };
  const auto unmix = [inverse](std::uint64_t word) {
    word *= inverse;
    return (word ^ word >> 47) * inverse;
  };
  std::vector<std::string> texts;
  for (std::uint64_t first = 0; first < count; ++first) {
    const std::uint64_t state = ((0xc70f6907u ^ kSize * kMul) ^ mix(first)) * kMul;
    const std::uint64_t second = unmix(state ^ 0x1234567890abcdefu);
    std::string text(kSize, '\0');
    std::memcpy(text.data(), &first, sizeof(first));
    std::memcpy(text.data() + sizeof(first), &second, sizeof(second));
    texts.push_back(std::move(text));
  }
  return texts;
}

// With a table of hashes each of these takes minutes.
TEST(HostileInput, KeysWithOneHashAreAsGoodAsOthers) {
  constexpr std::size_t kNumKeys = 100'000;
  const std::vector<std::string> keys = colliding_texts(kNumKeys);
  ASSERT_EQ(std::hash<std::string>()(keys.front()), std::hash<std::string>()(keys.back()));
  json::Object object;
  json::Array list;
  for (const std::string& key : keys) {
    object.append(key, 0);
    list.emplace_back(key);
  }
  json::Object context;
  context.set("object", std::move(object));
  context.set("list", std::move(list));
  EXPECT_EQ(text_of(render("{{ object|length }} {{ list|unique(true)|list|length }} "
                           "{% set ns = namespace(n=0) %}{% for k in list %}"
                           "{% set ns.n = ns.n + (1 if k in object) %}{% endfor %}{{ ns.n }}",
                           context)),
            fmt::format("{0} {0} {0}", kNumKeys));
}

TEST(HostileInput, EveryImportedValueIsAStep) {
  const json::Object context = object(R"({"a": [1, [2, 3], {"k": 4}]})");
  constexpr std::size_t kNumSteps = 7 + 2;  // The values; the statement and its expression.
  EXPECT_EQ(text_of(render("{{ a and 1 }}", context, {.max_steps = kNumSteps + 2})), "1");
  EXPECT_EQ(text_of(render("{{ a is defined }}", context, {.max_steps = 6})).substr(0, 5), "error");
}

// Each would take hours if every place were compared with the whole of the part.
TEST(HostileInput, SearchesAreLinear) {
  const std::string begin =
      "{% set a = 'a' * 4000000 %}{% set b = 'a' * 2000000 ~ 'b' %}"
      "{% set c = 'b' ~ 'a' * 2000000 %}{% set d = 'b' * 3000000 ~ 'a' %}";
  const std::pair<const char*, const char*> cases[] = {
      {"{{ a.find(b) }}{{ a.rfind(c) }}", "-1-1"},
      {"{{ b in a }}{{ a.count(b) }}", "False0"},
      {"{{ a|replace(b, '')|length }}", "4000000"},
      {"{{ ('ab' * 2000000)|replace('ab' * 900000 ~ 'c', '')|length }}", "4000000"},
      {"{{ a.split(b)|length }}{{ a.rsplit(c)|length }}", "11"},
      {"{{ a.partition(b)[0]|length }}{{ a.rpartition(c)[2]|length }}", "40000004000000"},
      {"{{ a.strip(d)|length }}{{ a.lstrip(d)|length }}{{ a.rstrip(d)|length }}", "000"},
  };
  for (const auto& [source, expected] : cases)
    EXPECT_EQ(text_of(render(begin + source, {})), expected) << source;
}

TEST(TextSearch, FindsWhatStringViewFinds) {
  const auto compiled = Template::compile(
      "{{ s.find(p) }} {{ s.rfind(p) }} {{ p in s }} {{ s.rpartition(p)[0]|length }}", {});
  std::mt19937 random(1);
  for (int round = 0; round < 500; ++round) {
    const auto text = [&](std::size_t max_size) {
      std::string out(1 + random() % max_size, 'a');
      for (char& c : out)
        c = random() % 3 == 0 ? 'b' : 'a';
      return out;
    };
    const std::string s = text(40);
    const std::string p = text(4);
    const auto signed_place = [](std::size_t place) {
      return place == std::string::npos ? -1 : static_cast<int>(place);
    };
    const int first = signed_place(s.find(p));
    const int last = signed_place(s.rfind(p));
    json::Object context{{"s", s}, {"p", p}};
    EXPECT_EQ(
        text_of(compiled->render({.variables = context, .trusted = {}, .now = {}})),
        fmt::format("{} {} {} {}", first, last, first < 0 ? "False" : "True", std::max(last, 0)))
        << s << " " << p;
  }
}

TEST(Dicts, KeepEveryKindOfKeyApartOnceTheyAreIndexed) {
  const char* source =
      "{% set d = {1: 'a', 1.0: 'b', true: 'c', 1.5: 'd', none: 'e', '1': 'f', (1, 2): 'g', "
      "(1, 2.0): 'h', (1,): 'i', 0: 'j', 'x': 'k', range(3): 'l', -1: 'm', 2 ** 62: 'n'} %}"
      "{{ d|length }} {{ d[1] }}{{ d[1.5] }}{{ d[none] }}{{ d['1'] }}{{ d[(1, 2)] }}{{ d[(1,)] }}"
      "{{ d[false] }}{{ d.x }}{{ d[range(0, 3)] }}{{ d[-1.0] }}{{ d[2 ** 62] }} {{ d[2] is defined "
      "}}";
  EXPECT_EQ(text_of(render(source, {})), "11 cdefhijklmn False");
}

TEST(Cost, GrowingATextInALoopIsLinear) {
  // Quadratic copying would build some 200 MB here.
  const Limits limits{.max_value_bytes = 24 << 20};
  const char* source =
      "{% set ns = namespace(s='') %}{% for i in range(20000) %}{% set ns.s = ns.s + 'piece ' + '' "
      "%}{% endfor %}{{ ns.s|length }}";
  EXPECT_EQ(text_of(render(source, {}, limits)), "120000");
}

TEST(Cost, LongConversationsStayWithinTheDefaultLimits) {
  json::Array messages;
  for (int i = 0; i < 2000; ++i) {
    json::Object message;
    message.set("role", i % 2 == 0 ? "user" : "assistant");
    message.set("content", std::string(1000, 'x') + "<|im_end|>");
    messages.emplace_back(std::move(message));
  }
  json::Object context;
  context.set("messages", std::move(messages));
  const auto rendered =
      render(read_text(golden_folder() / "templates/hermes_tools.jinja"), context);
  ASSERT_TRUE(rendered.has_value()) << rendered.error().message();
  EXPECT_GT(rendered->text.size(), 2'000'000u);
}

TEST(Integers, AboveInt64KeepTheirDigits) {
  const json::Object context = object(R"({"n": 18446744073709551615})");
  EXPECT_EQ(text_of(render("{{ n }} {{ [n]|tojson }} {{ n > 1 }} {{ n is number }}", context)),
            "18446744073709551615 [18446744073709551615] True True");
}

TEST(Templates, AreReusable) {
  const auto compiled = Template::compile("{{ 'a' + s + 'b' }}", {});
  ASSERT_TRUE(compiled.has_value());
  for (const char* text : {"1", "2"}) {
    json::Object context;
    context.set("s", text);
    const auto rendered = compiled->render({.variables = context, .trusted = {}, .now = {}});
    EXPECT_EQ(text_of(rendered), "a" + std::string(text) + "b");
  }
}

}  // namespace
}  // namespace hearth::jinja
