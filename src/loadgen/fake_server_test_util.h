// A server of the OpenAI API that answers as a test tells it to, on a free port of this machine.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace hearth::test {

struct FakeRequest {
  std::string head;  // Request line and headers.
  std::string body;
  bool is(std::string_view method_and_path) const { return head.starts_with(method_and_path); }
};

struct FakeReply {
  std::vector<std::string> pieces;  // Sent one after the other.
  bool close = false;               // Hang up afterwards.
  bool silent = false;              // Say nothing more until the client hangs up.
};

// One thread accepts, one serves each connection; all end with the object.
class FakeServer {
 public:
  using Handler = std::function<FakeReply(const FakeRequest&)>;

  // `handler` is called on the connection's thread, so for several requests at a time.
  explicit FakeServer(Handler handler) : handler_(std::move(handler)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(::bind(listener_, generic, length), 0);
    EXPECT_EQ(::listen(listener_, 64), 0);
    EXPECT_EQ(::getsockname(listener_, generic, &length), 0);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept_all(); });
  }

  ~FakeServer() {
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    {
      const std::scoped_lock lock(mutex_);
      for (const int socket : sockets_)
        ::shutdown(socket, SHUT_RDWR);
    }
    for (std::thread& thread : threads_)
      thread.join();
    for (const int socket : sockets_)
      ::close(socket);
    ::close(listener_);
  }
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  std::size_t num_connections() const {
    const std::scoped_lock lock(mutex_);
    return sockets_.size();
  }

 private:
  void accept_all() {
    for (;;) {
      const int socket = ::accept(listener_, nullptr, nullptr);
      if (socket < 0) return;
      const std::scoped_lock lock(mutex_);
      sockets_.push_back(socket);
      threads_.emplace_back([this, socket] { serve(socket); });
    }
  }

  void serve(int socket) {
    std::string received;
    FakeRequest request;
    while (read_request(socket, received, request)) {
      const FakeReply reply = handler_(request);
      for (const std::string& piece : reply.pieces)
        ::send(socket, piece.data(), piece.size(), MSG_NOSIGNAL);
      if (reply.close) ::shutdown(socket, SHUT_RDWR);
      if (reply.silent) receive(socket, received);
    }
  }

  static bool receive(int socket, std::string& received) {
    char buffer[4096];
    const ssize_t count = ::recv(socket, buffer, sizeof buffer, 0);
    if (count > 0) received.append(buffer, static_cast<std::size_t>(count));
    return count > 0;
  }

  static bool read_request(int socket, std::string& received, FakeRequest& request) {
    constexpr std::string_view kEnd = "\r\n\r\n";
    constexpr std::string_view kLength = "Content-Length: ";
    std::size_t end = 0;
    while ((end = received.find(kEnd)) == std::string::npos) {
      if (!receive(socket, received)) return false;
    }
    request.head = received.substr(0, end);
    received.erase(0, end + kEnd.size());
    std::size_t length = 0;
    const std::size_t field = request.head.find(kLength);
    if (field != std::string::npos) {
      const char* digits = request.head.data() + field + kLength.size();
      std::from_chars(digits, request.head.data() + request.head.size(), length);
    }
    while (received.size() < length) {
      if (!receive(socket, received)) return false;
    }
    request.body = received.substr(0, length);
    received.erase(0, length);
    return true;
  }

  Handler handler_;
  mutable std::mutex mutex_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::vector<int> sockets_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

// Replies to build on.

inline FakeReply reply_with(int status, std::string_view type, std::string_view body) {
  return {.pieces = {"HTTP/1.1 " + std::to_string(status) + " Status\r\nServer: fake\r\n" +
                     "Content-Type: " + std::string(type) + "\r\nContent-Length: " +
                     std::to_string(body.size()) + "\r\n\r\n" + std::string(body)}};
}

inline FakeReply json_reply(int status, std::string_view body) {
  return reply_with(status, "application/json", body);
}

inline FakeReply models_reply() {
  return json_reply(200, R"({"data":[{"id":"small","meta":{"n_vocab":500}},{"id":"large"}]})");
}

inline std::string chunk(std::string_view data) {
  char size[17];
  const auto [end, failure] = std::to_chars(size, size + sizeof size, data.size(), 16);
  return std::string(size, end) + "\r\n" + std::string(data) + "\r\n";
}

// The events of a stream, each in a chunk and a piece of its own. Without `complete` the connection
// is closed where the end of the stream would be.
inline FakeReply stream_reply(const std::vector<std::string>& events, bool complete = true) {
  FakeReply reply{.pieces = {"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                             "Transfer-Encoding: chunked\r\n\r\n"},
                  .close = !complete};
  for (const std::string& event : events)
    reply.pieces.push_back(chunk("data: " + event + "\n\n"));
  if (complete) reply.pieces.push_back(chunk(""));
  return reply;
}

inline std::string usage_event(std::size_t prompt_tokens, std::size_t completion_tokens) {
  return R"({"choices":[],"usage":{"prompt_tokens":)" + std::to_string(prompt_tokens) +
         R"(,"completion_tokens":)" + std::to_string(completion_tokens) + "}}";
}

// The whole answer of `tokens` tokens to a completion.
inline std::vector<std::string> answer_events(std::size_t prompt_tokens, std::size_t tokens) {
  std::vector<std::string> events(tokens, R"({"choices":[{"text":"a","delta":{"content":"a"}}]})");
  events.push_back(usage_event(prompt_tokens, tokens));
  events.emplace_back("[DONE]");
  return events;
}

}  // namespace hearth::test
