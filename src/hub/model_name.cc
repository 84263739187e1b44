#include "hub/model_name.h"

#include <algorithm>

namespace hearth::hub {
namespace {

constexpr std::size_t kMaxPartBytes = 96;
constexpr std::size_t kMaxShownBytes = 120;

bool is_alphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

bool may_stand_in_name(char c) {
  return is_alphanumeric(c) || c == '.' || c == '_' || c == '-';
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::string shown(std::string_view text) {
  if (text.size() <= kMaxShownBytes) return std::string(text);
  return std::string(text.substr(0, kMaxShownBytes)) + "...";
}

// Empty when the part is fine.
std::string_view fault_of(std::string_view part) {
  if (part.empty()) return "is empty";
  if (part.size() > kMaxPartBytes) return "has more than 96 characters";
  if (!std::ranges::all_of(part, may_stand_in_name)) {
    return "may only hold letters, digits, '.', '_' and '-'";
  }
  if (!is_alphanumeric(part.front()) && part.front() != '_') {
    return "must begin with a letter, a digit or '_'";
  }
  if (part.back() == '-' || part.back() == '.') return "must not end with '-' or '.'";
  if (part.find("..") != std::string_view::npos) return "must not hold '..'";
  return {};
}

// Cuts what follows the first `mark` off `rest`; false when there is no mark.
bool cut(std::string_view& rest, char mark, std::string& tail) {
  const std::size_t at = rest.find(mark);
  if (at == std::string_view::npos) return false;
  tail = rest.substr(at + 1);
  rest = rest.substr(0, at);
  return true;
}

}  // namespace

Result<ModelName> ModelName::parse(std::string_view text) {
  ModelName name;
  std::string_view rest = text;
  const bool has_revision = cut(rest, '@', name.revision);
  const bool has_tag = cut(rest, ':', name.tag);
  std::string after_slash;
  const bool has_organization = cut(rest, '/', after_slash);
  name.model = has_organization ? after_slash : std::string(rest);
  if (has_organization) name.organization = rest;

  struct Part {
    bool given;
    std::string_view label;
    std::string_view value;
  };
  for (const Part& part :
       {Part{has_organization, "organization", name.organization}, Part{true, "model", name.model},
        Part{has_tag, "tag", name.tag}, Part{has_revision, "revision", name.revision}}) {
    if (!part.given) continue;
    if (const std::string_view fault = fault_of(part.value); !fault.empty()) {
      return error(StatusCode::kInvalidArgument,
                   "'{}' is no model name (ORG/MODEL[:TAG][@REVISION]): the {} {}", shown(text),
                   part.label, fault);
    }
  }
  if (name.model.ends_with(".gguf")) {
    return error(StatusCode::kInvalidArgument, "'{}' is the name of a file, not of a model",
                 shown(text));
  }
  return name;
}

std::string ModelName::repository() const {
  return organization.empty() ? model : organization + "/" + model;
}

std::string ModelName::text() const {
  std::string text = repository();
  if (!tag.empty()) text += ":" + tag;
  if (!revision.empty()) text += "@" + revision;
  return text;
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) { return lower(x) == lower(y); });
}

std::string suggested_part(std::string_view text) {
  std::string part;
  for (const char c : text.substr(0, kMaxPartBytes)) {
    if (part.empty() && !is_alphanumeric(c)) continue;
    part.push_back(may_stand_in_name(c) ? c : '-');
  }
  while (!part.empty() && (part.back() == '-' || part.back() == '.'))
    part.pop_back();
  return part;
}

}  // namespace hearth::hub
