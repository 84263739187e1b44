// A deliberately simple blocking HTTP client for tests: sends any bytes, reads what comes.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <charconv>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>

namespace hearth::test {

struct TestResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  // Names as sent.
  std::string head;                            // Status line and headers, without the empty line.
  std::string body;                            // Chunks joined.
};

// One connection. Waits at most kPatience for any byte, which only a failing test ever does.
class TestClient {
 public:
  explicit TestClient(std::uint16_t port, int receive_buffer_bytes = 0) {
    socket_ = ::socket(AF_INET, SOCK_STREAM, 0);
    if (receive_buffer_bytes > 0) {
      ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes,
                   sizeof receive_buffer_bytes);
    }
    const timeval patience{.tv_sec = 30, .tv_usec = 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ =
        ::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  ~TestClient() { close(); }
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  bool connected() const { return connected_; }

  // False when the server has hung up.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }

  void get(std::string_view target) {
    send("GET " + std::string(target) + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
  }

  void post(std::string_view target, std::string_view body) {
    send(
        "POST " + std::string(target) +
        " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nX-Request-Id: test-1\r\n"
        "Content-Length: " +
        std::to_string(body.size()) + "\r\n\r\n" + std::string(body));
  }

  // Everything up to and including `mark`; what came before the end if the server hangs up first.
  std::string read_until(std::string_view mark) {
    std::size_t at = 0;
    while ((at = received_.find(mark)) == std::string::npos) {
      if (!receive()) return std::exchange(received_, {});
    }
    return take(at + mark.size());
  }

  std::string read_bytes(std::size_t count) {
    while (received_.size() < count && receive()) {
    }
    return take(std::min(count, received_.size()));
  }

  std::string read_to_end() {
    while (receive()) {
    }
    return std::exchange(received_, {});
  }

  TestResponse read_head() {
    TestResponse response;
    response.head = read_until("\r\n\r\n");
    if (response.head.size() < 12) return response;
    std::from_chars(response.head.data() + 9, response.head.data() + 12, response.status);
    response.head.resize(response.head.size() - 4);
    std::size_t line = response.head.find("\r\n");
    while (line != std::string::npos) {
      const std::size_t start = line + 2;
      line = response.head.find("\r\n", start);
      const std::string text = response.head.substr(start, line - start);
      const std::size_t colon = text.find(": ");
      if (colon != std::string::npos) {
        response.headers[text.substr(0, colon)] = text.substr(colon + 2);
      }
    }
    return response;
  }

  TestResponse read_response(bool has_body = true) {
    TestResponse response = read_head();
    if (!has_body) return response;
    const auto length = response.headers.find("content-length");
    if (length != response.headers.end()) {
      std::size_t size = 0;
      std::from_chars(length->second.data(), length->second.data() + length->second.size(), size);
      response.body = read_bytes(size);
    } else if (response.headers.contains("transfer-encoding")) {
      for (std::string chunk = read_chunk(); !chunk.empty(); chunk = read_chunk())
        response.body += chunk;
    } else if (response.status != 204) {
      response.body = read_to_end();
    }
    return response;
  }

  // The next chunk's data; empty for the last one.
  std::string read_chunk() {
    const std::string line = read_until("\r\n");
    std::size_t size = 0;
    std::from_chars(line.data(), line.data() + line.size(), size, 16);
    std::string data = read_bytes(size);
    read_bytes(2);
    return data;
  }

  bool at_end() { return received_.empty() && !receive(); }

  void finish_sending() { ::shutdown(socket_, SHUT_WR); }

  void close() {
    if (socket_ >= 0) ::close(std::exchange(socket_, -1));
  }

 private:
  bool receive() {
    char buffer[16384];
    const ssize_t count = ::recv(socket_, buffer, sizeof buffer, 0);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      ADD_FAILURE() << "nothing came from the server for a long time";
    }
    if (count <= 0) return false;
    received_.append(buffer, static_cast<std::size_t>(count));
    return true;
  }

  std::string take(std::size_t count) {
    std::string out = received_.substr(0, count);
    received_.erase(0, count);
    return out;
  }

  int socket_ = -1;
  bool connected_ = false;
  std::string received_;
};

}  // namespace hearth::test
