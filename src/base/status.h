// Errors as values.
//
// Expected failures (bad input, missing file, full queue) travel as `Status` or `Result<T>`; broken
// invariants end in HEARTH_CHECK. Exceptions never cross a module border. A message names the
// thing, the limit and the value given, and holds no internals (addresses, library exception text),
// because it may reach a client.
//
// Both types are values: freely copied, no ownership, safe to use from any thread that owns its
// copy.
#pragma once

#include <fmt/format.h>

#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace hearth {

enum class StatusCode {
  kOk,
  kInvalidArgument,    // The caller's input is wrong and will stay wrong.
  kOutOfRange,         // A well-formed value outside its limits.
  kNotFound,           // The named thing does not exist.
  kDataLoss,           // A file or stream is malformed, truncated or corrupt.
  kUnimplemented,      // Known, but this build does not support it.
  kResourceExhausted,  // A bounded resource is full now; trying later may work.
  kUnavailable,        // Not ready, loading or shutting down.
  kCancelled,          // Ended because its owner asked for it.
  kInternal,           // A bug or a numerical failure on our side.
};

// "invalid_argument" for kInvalidArgument and so on; a static string.
std::string_view status_code_name(StatusCode code);

class [[nodiscard]] Status {
 public:
  Status() = default;  // Success.
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }
  // "data_loss: message", for logs and test output.
  std::string to_string() const;

  // The same code with `context: ` in front of the message.
  Status with_context(std::string_view context) const;

  bool operator==(const Status&) const = default;

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

// What an errno value means, for messages. Thread-safe, which std::strerror is not.
std::string system_error_text(int error_number);

template <typename T>
using Result = std::expected<T, Status>;

// error(StatusCode::kNotFound, "tensor '{}' is missing", name) converts to any Result<T>.
template <typename... Args>
std::unexpected<Status> error(StatusCode code, fmt::format_string<Args...> format, Args&&... args) {
  return std::unexpected(Status(code, fmt::format(format, std::forward<Args>(args)...)));
}

// The same for functions that return a plain Status.
template <typename... Args>
Status make_status(StatusCode code, fmt::format_string<Args...> format, Args&&... args) {
  return Status(code, fmt::format(format, std::forward<Args>(args)...));
}

namespace internal {
[[noreturn]] void check_failed(const char* file, int line, const char* condition);
// Lets HEARTH_RETURN_IF_ERROR end both `Status` and `Result<T>` functions.
struct StatusReturn {
  Status status;
  operator Status() && { return std::move(status); }  // NOLINT(google-explicit-constructor)
  template <typename T>
  operator Result<T>() && {  // NOLINT(google-explicit-constructor)
    return std::unexpected(std::move(status));
  }
};
}  // namespace internal

}  // namespace hearth

// Ends the process with file and line when an invariant of our own is broken. Never for input.
#define HEARTH_CHECK(condition)                                         \
  do {                                                                  \
    if (!(condition)) [[unlikely]]                                      \
      ::hearth::internal::check_failed(__FILE__, __LINE__, #condition); \
  } while (false)

#define HEARTH_RETURN_IF_ERROR(expression)                                \
  do {                                                                    \
    ::hearth::Status hearth_status_ = (expression);                       \
    if (!hearth_status_.ok()) [[unlikely]]                                \
      return ::hearth::internal::StatusReturn{std::move(hearth_status_)}; \
  } while (false)

// HEARTH_ASSIGN_OR_RETURN(auto file, MappedFile::open(path));
#define HEARTH_ASSIGN_OR_RETURN(declaration, expression) \
  HEARTH_ASSIGN_OR_RETURN_IMPL(HEARTH_CONCAT(hearth_result_, __LINE__), declaration, expression)
#define HEARTH_ASSIGN_OR_RETURN_IMPL(result, declaration, expression)   \
  auto result = (expression);                                           \
  if (!result.has_value()) [[unlikely]]                                 \
    return ::hearth::internal::StatusReturn{std::move(result).error()}; \
  declaration = *std::move(result)
#define HEARTH_CONCAT(a, b) HEARTH_CONCAT_IMPL(a, b)
#define HEARTH_CONCAT_IMPL(a, b) a##b
