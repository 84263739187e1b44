// What the server asks of a request beyond what the HTTP library checks, and the pieces of its
// parser that are ours. Only for http_server.cc, which alone knows the HTTP library. Pure
// functions.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/optional.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "server/api_error.h"
#include "server/http_server.h"

namespace hearth {

// A body that grows with the bytes that came, whatever length the head announced.
struct GrowingBody {
  using value_type = std::string;

  class reader {
   public:
    template <bool kIsRequest, typename Fields>
    reader(boost::beast::http::header<kIsRequest, Fields>&, value_type& body) : body_(body) {}

    void init(const boost::optional<std::uint64_t>&, boost::system::error_code& ec) { ec = {}; }

    template <typename Buffers>
    std::size_t put(const Buffers& buffers, boost::system::error_code& ec) {
      ec = {};
      const std::size_t before = body_.size();
      for (auto it = boost::asio::buffer_sequence_begin(buffers);
           it != boost::asio::buffer_sequence_end(buffers); ++it) {
        const boost::asio::const_buffer buffer = *it;
        body_.append(static_cast<const char*>(buffer.data()), buffer.size());
      }
      return body_.size() - before;
    }

    void finish(boost::system::error_code& ec) { ec = {}; }

   private:
    value_type& body_;
  };
};

using RequestParser = boost::beast::http::request_parser<GrowingBody>;

ApiError http_error(int status, std::string code, std::string message);

// Now, for a Date header: RFC 9110, IMF-fixdate.
std::string http_date();

// Whether a client's X-Request-Id is one to repeat in answers and logs.
bool is_request_id(std::string_view id);

// Splits a request target in origin or absolute form into the request's path and query. False for
// any other form.
bool split_target(std::string_view target, bool is_options, HttpRequest& request);

// What the parser accepts but no careful server should: framing that another reader of the same
// bytes could understand differently.
std::optional<ApiError> check_head(const boost::beast::http::request_header<>& head,
                                   std::size_t max_headers);

// The answer to what the parser refuses.
ApiError parse_error(const boost::system::error_code& ec, const HttpServerOptions& options);

}  // namespace hearth
