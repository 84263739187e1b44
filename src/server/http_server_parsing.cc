#include "server/http_server_parsing.h"

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <iterator>
#include <utility>

#include "base/clock.h"

namespace hearth {

namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

ApiError http_error(int status, std::string code, std::string message) {
  return {status, std::move(code), std::move(message), "", std::nullopt};
}

std::string http_date() {
  constexpr std::array<std::string_view, 7> kDays = {"Sun", "Mon", "Tue", "Wed",
                                                     "Thu", "Fri", "Sat"};
  constexpr std::array<std::string_view, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const auto now = system_clock().wall_now();
  const auto midnight = std::chrono::floor<std::chrono::days>(now);
  const std::chrono::year_month_day date(midnight);
  const std::chrono::hh_mm_ss time(std::chrono::floor<std::chrono::seconds>(now - midnight));
  return fmt::format(
      "{}, {:02} {} {} {:02}:{:02}:{:02} GMT", kDays[std::chrono::weekday(midnight).c_encoding()],
      static_cast<unsigned>(date.day()), kMonths[static_cast<unsigned>(date.month()) - 1],
      static_cast<int>(date.year()), time.hours().count(), time.minutes().count(),
      time.seconds().count());
}

bool is_request_id(std::string_view id) {
  constexpr std::size_t kMaxLength = 128;
  constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/+=-";
  return !id.empty() && id.size() <= kMaxLength &&
         id.find_first_not_of(kAllowed) == std::string_view::npos;
}

bool split_target(std::string_view target, bool is_options, HttpRequest& request) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!target.starts_with(scheme)) continue;
    const std::size_t slash = target.find('/', scheme.size());
    target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
    break;
  }
  if (!target.starts_with('/') && !(is_options && target == "*")) return false;
  target = target.substr(0, target.find('#'));
  const std::size_t question = target.find('?');
  request.path = std::string(target.substr(0, question));
  if (question != std::string_view::npos) request.query = std::string(target.substr(question + 1));
  return true;
}

std::optional<ApiError> check_head(const http::request_header<>& head, std::size_t max_headers) {
  if (static_cast<std::size_t>(std::distance(head.begin(), head.end())) > max_headers) {
    return http_error(431, "headers_too_large",
                      fmt::format("The request has more than {} headers.", max_headers));
  }
  const auto bad = [](std::string message) {
    return http_error(400, "invalid_http", std::move(message));
  };
  for (const http::field field :
       {http::field::content_length, http::field::transfer_encoding, http::field::host}) {
    if (head.count(field) > 1) return bad("A header that must be unique is given more than once.");
  }
  if (head[http::field::content_length].find(',') != boost::string_view::npos) {
    return bad("Content-Length must be one number.");
  }
  const bool has_coding = head.count(http::field::transfer_encoding) != 0;
  if (has_coding && head.count(http::field::content_length) != 0) {
    return bad("Content-Length and Transfer-Encoding exclude each other.");
  }
  if (has_coding &&
      (head.version() < 11 || !beast::iequals(head[http::field::transfer_encoding], "chunked"))) {
    return bad("The only Transfer-Encoding understood is 'chunked', and only in HTTP/1.1.");
  }
  if (head.version() >= 11 && head.count(http::field::host) == 0) {
    return bad("An HTTP/1.1 request needs a Host header.");
  }
  if (head.count(http::field::expect) != 0 &&
      !beast::iequals(head[http::field::expect], "100-continue")) {
    return http_error(417, "expectation_failed",
                      "The only expectation understood is 100-continue.");
  }
  return std::nullopt;
}

ApiError parse_error(const error_code& ec, const HttpServerOptions& options) {
  if (ec == http::error::header_limit) {
    return http_error(431, "headers_too_large",
                      fmt::format("The request's head is longer than the {} bytes allowed.",
                                  options.max_header_bytes));
  }
  if (ec == http::error::body_limit) {
    return http_error(413, "body_too_large",
                      fmt::format("The request's body is longer than the {} bytes allowed.",
                                  options.max_body_bytes));
  }
  if (ec == http::error::bad_version) {
    return http_error(505, "http_version", "The HTTP versions understood are 1.0 and 1.1.");
  }
  return http_error(400, "invalid_http", "The request is not well-formed HTTP/1.1.");
}

}  // namespace hearth
