// The tables of everything a template can call by name.
#pragma once

#include <span>
#include <string_view>

#include "jinja/runtime.h"

namespace hearth::jinja {

// Each nullptr when there is none of this name.
const Builtin* find_filter(std::string_view name);
const Builtin* find_test(std::string_view name);
const Builtin* find_global(std::string_view name);
const Builtin* find_method(const Value& object, std::string_view name);

// Attributes that are not methods: loop.index, macro.name, group.grouper.
bool find_data_attribute(Runtime& runtime, const Value& object, std::string_view name, Value& out);
// Attributes Python has and the sandbox refuses: list.append, anything that begins with '_'.
bool is_refused_attribute(const Value& object, std::string_view name);

// One table per file of built-ins.
std::span<const Builtin> text_filters();
std::span<const Builtin> markup_filters();
std::span<const Builtin> number_filters();
std::span<const Builtin> sequence_filters();
std::span<const Builtin> selection_filters();
std::span<const Builtin> all_tests();
std::span<const Builtin> globals();
std::span<const Builtin> text_methods();
std::span<const Builtin> text_search_methods();
std::span<const Builtin> dict_methods();
std::span<const Builtin> sequence_methods();
std::span<const Builtin> loop_methods();
std::span<const Builtin> cycler_methods();

// What filters by attribute share: item.a.b or item[0], with `fallback` (may be null) for
// undefined.
Value attribute_path(Runtime& runtime, const Value& item, const Value& path, const Value* fallback);

}  // namespace hearth::jinja
