#include "loadgen/target.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hearth::loadgen {
namespace {

using ::testing::HasSubstr;

std::string url_of(std::string_view text) {
  const auto target = parse_target(text);
  return target.has_value() ? target->url("/models") : target.error().to_string();
}

TEST(ParseTarget, NamesAServerOrItsApi) {
  EXPECT_EQ(url_of("http://127.0.0.1:8080"), "http://127.0.0.1:8080/v1/models");
  EXPECT_EQ(url_of("http://127.0.0.1:8080/"), "http://127.0.0.1:8080/v1/models");
  EXPECT_EQ(url_of("http://127.0.0.1:8080/v1"), "http://127.0.0.1:8080/v1/models");
  EXPECT_EQ(url_of("http://127.0.0.1:8080/v1/"), "http://127.0.0.1:8080/v1/models");
  EXPECT_EQ(url_of("http://host/llm/v1"), "http://host/llm/v1/models");
  EXPECT_EQ(url_of("http://host:80/llm"), "http://host/llm/v1/models");
  EXPECT_EQ(url_of("http://[::1]:8080"), "http://[::1]:8080/v1/models");
  EXPECT_EQ(parse_target("http://[::1]:8080")->host, "::1");
  EXPECT_EQ(parse_target("http://host")->port, "80");
}

TEST(ParseTarget, RefusesWhatItCannotReach) {
  EXPECT_THAT(url_of("https://host"), HasSubstr("TLS"));
  for (const std::string_view bad :
       {"", "host:80", "ftp://host", "http://", "http://:80", "http://host:0", "http://host:65536",
        "http://host:80x", "http://host:", "http://ho st", "http://host/v1?a=b", "http://u@host",
        "http://[::1", "http://host/\r\nX: y"}) {
    const auto target = parse_target(bad);
    ASSERT_FALSE(target.has_value()) << bad;
    EXPECT_EQ(target.error().code(), StatusCode::kInvalidArgument) << bad;
    EXPECT_THAT(target.error().message(), HasSubstr("http://host:port")) << bad;
  }
}

}  // namespace
}  // namespace hearth::loadgen
