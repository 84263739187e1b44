// Template source and, behind a NUL byte, its context as JSON.
#include <algorithm>
#include <cstdint>
#include <string_view>

#include "base/json.h"
#include "base/status.h"
#include "jinja/template.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hearth;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t border = std::min(input.find('\0'), input.size());
  const jinja::Limits limits{.max_steps = 20'000,
                             .max_output_bytes = 1 << 18,
                             .max_value_bytes = 4 << 20,
                             .max_depth = 64};
  const auto compiled = jinja::Template::compile(input.substr(0, border), limits);
  if (!compiled) return 0;
  const auto context = json::parse(input.substr(std::min(border + 1, input.size())));
  const json::Value fallback =
      json::Object{{"s", "text <b>"},
                   {"n", 7},
                   {"l", json::Array{1, "a", 2.5, nullptr}},
                   {"messages", json::Array{json::Object{{"role", "user"}, {"content", "Hi"}}}}};
  const json::Object* variables = context ? context->as_object() : nullptr;
  if (variables == nullptr) variables = fallback.as_object();
  const auto rendered =
      compiled->render({.variables = *variables, .trusted = {"bos_token"}, .now = {}});
  if (!rendered) return 0;
  HEARTH_CHECK(rendered->text.size() <= limits.max_output_bytes + limits.max_value_bytes);
  std::size_t end = 0;
  for (const jinja::Marks::Run& run : rendered->runs) {
    HEARTH_CHECK(run.end > end);
    end = run.end;
  }
  HEARTH_CHECK(end == rendered->text.size());
  return 0;
}
