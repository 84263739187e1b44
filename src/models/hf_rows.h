// How the tables of Hugging Face classes are written. Internal to them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>

#include "models/hf_families.h"

namespace hearth {

constexpr HfKey required(std::string_view name, std::string_view metadata_key) {
  return {.name = name, .metadata_key = metadata_key};
}

constexpr HfKey optional(std::string_view name, std::string_view metadata_key) {
  return {.name = name, .metadata_key = metadata_key, .kind = HfKeyKind::kSize, .required = false};
}

constexpr HfKey optional_count(std::string_view name, std::string_view metadata_key) {
  return {.name = name, .metadata_key = metadata_key, .kind = HfKeyKind::kCount, .required = false};
}

constexpr HfKey number(std::string_view name, std::string_view metadata_key) {
  return {.name = name, .metadata_key = metadata_key, .kind = HfKeyKind::kNumber, .required = true};
}

constexpr HfModule module(std::string_view name, std::string_view role,
                          HfTransform transform = HfTransform::kNone) {
  return {.name = name, .role = role, .transform = transform};
}

// Of a head, which stands beside the model itself.
constexpr HfModule head_module(std::string_view name, std::string_view role) {
  return {.name = name, .role = role, .transform = HfTransform::kNone, .outside = true};
}

// Neither a weight nor a bias of a module.
constexpr HfModule parameter(std::string_view name, std::string_view role,
                             HfTransform transform = HfTransform::kNone) {
  return {.name = name, .role = role, .transform = transform, .bare = true};
}

// The rows of several tables as one.
template <typename Row, std::size_t... Sizes>
constexpr auto joined(const std::array<Row, Sizes>&... tables) {
  std::array<Row, (Sizes + ...)> rows = {};
  auto out = rows.begin();
  ((out = std::ranges::copy(tables, out).out), ...);
  return rows;
}

}  // namespace hearth
