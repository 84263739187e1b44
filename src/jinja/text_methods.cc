// Methods of str that make a new string, or a list of strings.
#include <algorithm>

#include "jinja/builtins.h"
#include "jinja/format.h"
#include "jinja/operators.h"
#include "jinja/printing.h"
#include "jinja/text_ops.h"
#include "jinja/unicode.h"

namespace hearth::jinja {
namespace {

const Text* optional_text(Runtime& runtime, const Bound& args, std::size_t idx,
                          std::string_view what) {
  const Value* given = args.given(idx);
  return given == nullptr ? nullptr : &runtime.text_of(*given, what);
}

template <Side side>
Value strip_method(Runtime& runtime, const Value& self, const Bound& args) {
  return strip(runtime, self.text(), optional_text(runtime, args, 0, "the characters to strip"),
               side);
}

template <Value (*operation)(Runtime&, const Text&)>
Value case_method(Runtime& runtime, const Value& self, const Bound&) {
  return operation(runtime, self.text());
}

Value split_method(Runtime& runtime, const Value& self, const Bound& args) {
  return runtime.list(split(runtime, self.text(), optional_text(runtime, args, 0, "the separator"),
                            runtime.integer_or(args[1], -1, "maxsplit")));
}

Value rsplit_method(Runtime& runtime, const Value& self, const Bound& args) {
  return runtime.list(rsplit(runtime, self.text(), optional_text(runtime, args, 0, "the separator"),
                             runtime.integer_or(args[1], -1, "maxsplit")));
}

Value split_lines_method(Runtime& runtime, const Value& self, const Bound& args) {
  return runtime.list(split_lines(runtime, self.text(), args[0] != nullptr && truthy(*args[0])));
}

Value replace_method(Runtime& runtime, const Value& self, const Bound& args) {
  const Text& old_part = runtime.text_of(*args[0], "what is replaced");
  const Text& new_part = runtime.text_of(*args[1], "the replacement");
  const Text& inserted = self.text().safe ? escape(runtime, Value(&new_part)) : new_part;
  return replace(runtime, self.text(), old_part, inserted,
                 runtime.integer_or(args[2], -1, "the count"));
}

Value join_method(Runtime& runtime, const Value& self, const Bound& args) {
  if (args[0]->is_undefined()) return runtime.text("");
  const std::vector<Value> items = iterate(runtime, *args[0]);
  const Text& separator = self.text();
  TextBuilder out;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) print(runtime, out, self);
    const Text& item = runtime.text_of(items[i], "each joined item");
    print(runtime, out, separator.safe ? Value(&escape(runtime, items[i])) : Value(&item));
  }
  return runtime.text(std::move(out), separator.safe);
}

template <Align align>
Value pad_method(Runtime& runtime, const Value& self, const Bound& args) {
  Padding padding{.width = runtime.integer(*args[0], "the width"), .align = align};
  if (args[1] != nullptr) {
    padding.fill = &runtime.text_of(*args[1], "the fill character");
    if (padding.fill->length() != 1) runtime.fail("the fill character must be one character");
  }
  return pad(runtime, self.text(), padding);
}

Value zfill_method(Runtime& runtime, const Value& self, const Bound& args) {
  const Text& text = self.text();
  const std::string_view view = text.view();
  const bool sign = view.starts_with('+') || view.starts_with('-');
  const Value digits = runtime.substring(text, sign ? 1 : 0, text.size);
  const Value zero = runtime.text("0");
  const std::int64_t width = std::max<std::int64_t>(runtime.integer(*args[0], "the width"), 0);
  const Value padded =
      pad(runtime, digits.text(),
          {.width = width - (sign ? 1 : 0), .fill = &zero.text(), .align = Align::kRight});
  if (!sign) return padded;
  return runtime.concat(runtime.substring(text, 0, 1).text(), padded.text(), text.safe);
}

Value expandtabs_method(Runtime& runtime, const Value& self, const Bound& args) {
  constexpr std::size_t kMaxTabSize = 4096;
  const std::size_t size =
      runtime.bounded(runtime.integer_or(args[0], 8, "tabsize"), kMaxTabSize, "tabsize");
  const Text& text = self.text();
  runtime.spend_bytes(text.size);
  TextBuilder out;
  std::size_t column = 0;
  for (TextCursor cursor(text); !cursor.done();) {
    const std::size_t begin = cursor.position();
    const Origin origin = cursor.origin();
    const char32_t c = cursor.next();
    if (c == '\t') {
      const std::size_t spaces = size == 0 ? 0 : size - column % size;
      runtime.allocate(spaces);
      out.append_repeated(" ", spaces, origin);
      column += spaces;
      continue;
    }
    out.append(text, begin, cursor.position());
    column = c == '\n' || c == '\r' ? 0 : column + 1;
  }
  return runtime.text(std::move(out), text.safe);
}

template <bool from_right>
Value partition_method(Runtime& runtime, const Value& self, const Bound& args) {
  const Text& text = self.text();
  const Text& separator = runtime.text_of(*args[0], "the separator");
  if (separator.size == 0) runtime.fail("partition: the separator is empty");
  runtime.spend_bytes(text.size);
  const std::size_t found =
      from_right ? LastPartFinder(runtime, text.view(), separator.view()).find_before(text.size)
                 : find_part(text.view(), separator.view());
  const Value none = runtime.substring(text, 0, 0);
  if (found == std::string_view::npos) {
    return from_right ? runtime.tuple({none, none, self}) : runtime.tuple({self, none, none});
  }
  return runtime.tuple({runtime.substring(text, 0, found),
                        runtime.substring(text, found, found + separator.size),
                        runtime.substring(text, found + separator.size, text.size)});
}

Value remove_prefix_method(Runtime& runtime, const Value& self, const Bound& args) {
  const Text& text = self.text();
  const Text& prefix = runtime.text_of(*args[0], "the prefix");
  runtime.spend_bytes(prefix.size);
  if (!text.view().starts_with(prefix.view())) return self;
  return runtime.substring(text, prefix.size, text.size);
}

Value remove_suffix_method(Runtime& runtime, const Value& self, const Bound& args) {
  const Text& text = self.text();
  const Text& suffix = runtime.text_of(*args[0], "the suffix");
  runtime.spend_bytes(suffix.size);
  if (!text.view().ends_with(suffix.view())) return self;
  return runtime.substring(text, 0, text.size - suffix.size);
}

Value format_method(Runtime& runtime, const Value& self, const Bound& args) {
  return format_braces(runtime, self.text(), args.all);
}

Value format_map_method(Runtime& runtime, const Value& self, const Bound& args) {
  Arguments arguments;
  if (!args[0]->is(Kind::kDict))
    runtime.fail("format_map: needs a dict, not {}", type_name(*args[0]));
  for (const Dict::Entry& entry : args[0]->as<Dict>().entries()) {
    if (entry.key.is_text()) arguments.named.emplace_back(entry.key.text().view(), entry.value);
  }
  return format_braces(runtime, self.text(), arguments);
}

Value refused_method(Runtime& runtime, const Value&, const Bound&) {
  runtime.fail("this string method is not available in chat templates");
}

constexpr Builtin kMethods[] = {
    {"strip", "chars?", strip_method<Side::kBoth>},
    {"lstrip", "chars?", strip_method<Side::kLeft>},
    {"rstrip", "chars?", strip_method<Side::kRight>},
    {"upper", "", case_method<upper>},
    {"lower", "", case_method<lower>},
    {"casefold", "", case_method<casefold>},
    {"swapcase", "", case_method<swapcase>},
    {"capitalize", "", case_method<capitalize>},
    {"title", "", case_method<title>},
    {"split", "sep? maxsplit?", split_method},
    {"rsplit", "sep? maxsplit?", rsplit_method},
    {"splitlines", "keepends?", split_lines_method},
    {"replace", "old new count?", replace_method},
    {"join", "iterable", join_method},
    {"ljust", "width fillchar?", pad_method<Align::kLeft>},
    {"rjust", "width fillchar?", pad_method<Align::kRight>},
    {"center", "width fillchar?", pad_method<Align::kCenter>},
    {"zfill", "width", zfill_method},
    {"expandtabs", "tabsize?", expandtabs_method},
    {"partition", "sep", partition_method<false>},
    {"rpartition", "sep", partition_method<true>},
    {"removeprefix", "prefix", remove_prefix_method},
    {"removesuffix", "suffix", remove_suffix_method},
    {"format", "*", format_method},
    {"format_map", "mapping", format_map_method},
    {"encode", "*", refused_method},
    {"translate", "*", refused_method},
    {"maketrans", "*", refused_method},
};

}  // namespace

std::span<const Builtin> text_methods() {
  return kMethods;
}

}  // namespace hearth::jinja
