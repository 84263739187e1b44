#include "hub/hub_protocol.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hub/hub_client.h"

namespace hearth::hub {
namespace {

using testing::HasSubstr;

TEST(HubAddresses, EscapeEverythingButSlashes) {
  EXPECT_EQ(file_url("https://h", "o/m", "abc", "d/a b#c?.gguf"),
            "https://h/o/m/resolve/abc/d/a%20b%23c%3F.gguf");
  EXPECT_EQ(tree_url("https://h", "o/m", "abc"), "https://h/api/models/o/m/tree/abc?recursive=1");
  EXPECT_EQ(shown_url("https://h/a?signature=secret#x"), "https://h/a");
}

TEST(HubTree, TellsSizesAndChecksums) {
  const std::string sha1(40, 'a');
  const std::string sha256(64, 'b');
  const auto files = parse_tree(fmt::format(
      R"([{{"type":"file","path":"c.json","size":3,"oid":"{0}"}},
          {{"type":"directory","path":"d","size":0,"oid":"{0}"}},
          {{"type":"file","path":"m.gguf","size":9,"oid":"{0}","lfs":{{"oid":"{1}","size":9}}}},
          {{"type":"file","path":"../x","size":9,"oid":"{0}"}}])",
      sha1, sha256));
  ASSERT_TRUE(files.has_value()) << files.error().message();
  ASSERT_EQ(files->size(), 2u);
  EXPECT_EQ(files->at(0).git_sha1, sha1);
  EXPECT_EQ(files->at(0).sha256, "");
  EXPECT_EQ(files->at(1).sha256, sha256);
  EXPECT_EQ(files->at(1).size_bytes, 9u);
}

TEST(HubTree, MalformedListsAreErrors) {
  for (const char* text :
       {"", "{}", "[1]", R"([{"type":"file","path":"a","size":3}])",
        R"([{"type":"file","path":"a","size":-1,"oid":"x"}])",
        R"([{"type":"file","path":"a","size":1,"oid":"x","lfs":{"oid":"../../x"}}])"})
    EXPECT_FALSE(parse_tree(text).has_value()) << text;
  EXPECT_FALSE(parse_commit(R"({"sha":"../.."})").has_value());
  EXPECT_TRUE(parse_search("nonsense").empty());
}

TEST(LinkHeader, TheNextPageIsFoundAmongOthers) {
  EXPECT_EQ(next_page(R"(<https://h/a?x=1>; rel="next")"), "https://h/a?x=1");
  EXPECT_EQ(next_page(R"(<https://h/p>; rel="prev", <https://h/n>; rel="next")"), "https://h/n");
  for (const char* text : {"", "<", "<>", "next", R"(<https://h/p>; rel="prev")", ">;rel=\"next\""})
    EXPECT_EQ(next_page(text), "") << text;
}

TEST(ContentRangeHeader, IsReadStrictly) {
  const auto range = parse_content_range("bytes 5-9/20");
  ASSERT_TRUE(range.has_value());
  EXPECT_EQ(range->range.begin, 5u);
  EXPECT_EQ(range->range.end, 10u);
  EXPECT_EQ(range->total_bytes, 20u);
  for (const char* text : {"", "bytes", "bytes */20", "bytes 9-5/20", "bytes 5-20/20",
                           "bytes 5-9/*", "bytes -1-9/20", "bytes 5-9/99999999999999999999"})
    EXPECT_FALSE(parse_content_range(text).has_value()) << text;
}

TEST(Etags, OnlyStrongOnesNameExactBytes) {
  const std::string strong = "\"abc\"";
  const std::string weak = "W/\"abc\"";
  const std::string bare = "abc";
  EXPECT_EQ(strong_etag(&strong), "abc");
  EXPECT_EQ(strong_etag(&bare), "abc");
  EXPECT_EQ(strong_etag(&weak), "");
  EXPECT_EQ(strong_etag(nullptr), "");
}

TEST(HttpHeads, TheLastHeaderOfANameCounts) {
  const HttpHead head{.status = 200, .headers = {{"etag", "hub"}, {"x", "1"}, {"etag", "cdn"}}};
  EXPECT_EQ(*head.find("etag"), "cdn");
  EXPECT_EQ(head.find("y"), nullptr);
}

TEST(HttpFailures, SayWhatToDoAndHideSignatures) {
  const auto message = [](int status, std::string_view code, bool had_token) {
    const HttpHead head{.status = status, .headers = {{"x-error-code", std::string(code)}}};
    const Status failure = failure_status({.head = head,
                                           .url = "https://h/o/m?signature=secret",
                                           .body = R"({"error":"why"})",
                                           .had_token = had_token});
    EXPECT_THAT(failure.message(), testing::Not(HasSubstr("secret")));
    EXPECT_THAT(failure.message(), HasSubstr("why"));
    return failure.message();
  };
  EXPECT_THAT(message(401, "", false), HasSubstr("set HF_TOKEN"));
  EXPECT_THAT(message(401, "", true), HasSubstr("refuses the token"));
  EXPECT_THAT(message(401, "GatedRepo", false), HasSubstr("accept its conditions"));
  EXPECT_THAT(message(404, "RevisionNotFound", false), HasSubstr("no such revision"));
  EXPECT_THAT(message(500, "", false), HasSubstr("500"));
}

TEST(HubClients, RefuseAddressesAndTokensThatAreNotSafe) {
  for (const char* endpoint : {"", "hub", "ftp://hub", "file:///etc", "https://user:word@hub"})
    EXPECT_FALSE(HubClient::create({.endpoint = endpoint}).has_value()) << endpoint;
  EXPECT_FALSE(HubClient::create({.endpoint = "http://hub", .token = "t"}).has_value());
  EXPECT_FALSE(HubClient::create({.endpoint = "https://hub", .token = "a\r\nB: c"}).has_value());
  EXPECT_TRUE(HubClient::create({.endpoint = "http://127.0.0.1:1/", .token = "t"}).has_value());
  EXPECT_EQ(HubClient::create({.endpoint = "https://hub/"}).value()->options().endpoint,
            "https://hub");
}

}  // namespace
}  // namespace hearth::hub
