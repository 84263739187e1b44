#include "server/host_check.h"

#include <gtest/gtest.h>

namespace hearth {
namespace {

std::string refusal(const HostPolicy& policy, std::string_view host, std::string_view origin = "") {
  HttpRequest request;
  if (!host.empty()) request.headers.emplace_back("host", host);
  if (!origin.empty()) request.headers.emplace_back("origin", origin);
  const auto error = check_host(request, policy);
  return error ? error->code : "";
}

TEST(HostCheckTest, OnLoopbackOnlyOwnNamesAreAnswered) {
  const HostPolicy policy{.listen_host = "127.0.0.1", .allowed_hosts = {"llm.example"}};
  for (const char* host : {"", "localhost", "LocalHost:8080", "app.localhost", "127.0.0.1:8080",
                           "[::1]:8080", "192.0.2.7", "llm.example:80"}) {
    EXPECT_EQ(refusal(policy, host), "") << host;
  }
  for (const char* host :
       {"evil.example", "evil.example:8080", "localhost.evil.example", "[", ":"}) {
    EXPECT_EQ(refusal(policy, host), host[0] == '[' || host[0] == ':' ? "" : "host_not_allowed")
        << host;
  }
}

TEST(HostCheckTest, OnANetworkAnyNameIsFine) {
  EXPECT_EQ(refusal({.listen_host = "0.0.0.0"}, "llm.example"), "");
}

TEST(HostCheckTest, ForeignPagesNeedPermission) {
  HostPolicy policy{.listen_host = "0.0.0.0"};
  EXPECT_EQ(refusal(policy, "llm.example:8080", "http://llm.example:8080"), "");
  EXPECT_EQ(refusal(policy, "llm.example:8080", "http://evil.example"), "origin_not_allowed");
  EXPECT_EQ(refusal(policy, "llm.example", "null"), "origin_not_allowed");
  policy.cors_origin = "https://app.example";
  EXPECT_EQ(refusal(policy, "llm.example", "https://app.example"), "");
  EXPECT_EQ(refusal(policy, "llm.example", "https://other.example"), "origin_not_allowed");
  policy.cors_origin = "*";
  EXPECT_EQ(refusal(policy, "llm.example", "https://other.example"), "");
}

}  // namespace
}  // namespace hearth
