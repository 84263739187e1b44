// The messages of a chat request, checked and brought into the one form that chat templates expect.
#pragma once

#include "base/json.h"
#include "server/api_error.h"

namespace hearth {

// Checks roles, contents and names. In the result every content is a string (text parts joined by
// line breaks, an assistant's null kept as an empty string) and the role developer is system.
// Errors name the place: "messages[2].content[0].type".
ApiResult<json::Array> normalize_messages(const json::Array& messages);

}  // namespace hearth
