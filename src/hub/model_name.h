// What a model is called in the registry and on the hub: [ORG/]MODEL[:TAG][@REVISION].
//
// A name comes from users and is turned into paths and addresses, so its alphabet is strict: no
// name that parses can leave the registry's directory, hide a file or change an address.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace hearth::hub {

struct ModelName {
  std::string organization;  // Empty for names given by the user of this machine.
  std::string model;
  std::string tag;       // Which variant, mostly a quantization ("Q4_K_M"). Empty: not said.
  std::string revision;  // A branch, tag or commit of the hub. Empty: not said.

  // Each part has 1 to 96 of A-Z a-z 0-9 . _ -, begins with a letter, digit or _, does not end with
  // - or . and holds no "..". MODEL does not end in .gguf: that is a file. kInvalidArgument names
  // the part.
  static Result<ModelName> parse(std::string_view text);

  std::string repository() const;  // "ORG/MODEL" or "MODEL"
  std::string text() const;
  bool operator==(const ModelName&) const = default;
};

// Equal but for the case of ASCII letters: quantizations are written both ways.
bool equal_ignoring_case(std::string_view a, std::string_view b);

// `text` with what no name may hold replaced by '-', as a proposal for a name; may still not parse.
std::string suggested_part(std::string_view text);

}  // namespace hearth::hub
