#include "hub/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hub/digest.h"
#include "hub/failpoint.h"

namespace hearth::hub {
namespace {

Manifest sample() {
  return {
      .files = {{.path = "a.json", .size_bytes = 3, .sha256 = std::string(64, 'a')},
                {.path = "b/c.gguf", .size_bytes = 1u << 31, .sha256 = std::string(64, 'b')}},
      .source = {.origin = "https://hub", .repository = "o/m", .revision = "main", .commit = "c"},
      .created_s = 1'700'000'000};
}

TEST(Digests, AgreeWithKnownValues) {
  EXPECT_EQ(sha256_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Digest sha1(DigestKind::kSha1);
  sha1.add("a");
  sha1.add("bc");
  EXPECT_EQ(sha1.hex(), "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_TRUE(is_sha256(std::string(64, '0')));
  EXPECT_FALSE(is_sha256(std::string(64, 'A')));
  EXPECT_FALSE(is_sha256(std::string(63, '0')));
}

TEST(Manifests, AreReadBackAsTheyWereWritten) {
  const Manifest manifest = sample();
  const auto read = parse_manifest(json::dump(manifest_json(manifest)));
  ASSERT_TRUE(read.has_value()) << read.error().message();
  EXPECT_EQ(read->files, manifest.files);
  EXPECT_EQ(read->source, manifest.source);
  EXPECT_EQ(read->created_s, manifest.created_s);
  EXPECT_EQ(read->gguf_file()->path, "b/c.gguf");
}

TEST(Manifests, TheContentIdCoversPathsAndContentsAlone) {
  Manifest other = sample();
  other.source.origin = "elsewhere";
  other.created_s = 1;
  EXPECT_EQ(other.content_id(), sample().content_id());
  other.files[0].path = "b.json";
  EXPECT_NE(other.content_id(), sample().content_id());
}

TEST(Manifests, DamageIsNamedByField) {
  const std::string text = json::dump(manifest_json(sample()));
  const auto with = [&](std::string_view from, std::string_view to) {
    std::string changed = text;
    changed.replace(changed.find(from), from.size(), to);
    const auto manifest = parse_manifest(changed);
    return manifest.has_value() ? "read" : manifest.error().message();
  };
  EXPECT_THAT(with("a.json", "../a.json"), testing::HasSubstr("path"));
  EXPECT_THAT(with("a.json", "/a.json"), testing::HasSubstr("path"));
  EXPECT_THAT(with("a.json", "c.json"), testing::HasSubstr("out of order"));
  EXPECT_THAT(with("\"size\":3", "\"size\":-3"), testing::HasSubstr("size"));
  EXPECT_THAT(with("\"size\":3", "\"size\":1e300"), testing::HasSubstr("size"));
  EXPECT_THAT(with("aaaa", "../a"), testing::HasSubstr("sha256"));
  EXPECT_THAT(with("\"schema\":1", "\"schema\":2"), testing::HasSubstr("newer"));
  EXPECT_THAT(with("\"files\"", "\"other\""), testing::HasSubstr("files"));
  for (std::size_t length = 0; length < text.size(); ++length)
    EXPECT_FALSE(parse_manifest(text.substr(0, length)).has_value());
}

TEST(SafePaths, NameThingsBelowADirectory) {
  for (const char* path : {"a", "a/b", "a b/c#d", "model-00001-of-00002.gguf"})
    EXPECT_TRUE(is_safe_path(path)) << path;
  const std::string with_nul("a\0b", 3);
  for (const std::string& path :
       {std::string(), std::string("/a"), std::string("a/"), std::string("a//b"), std::string(".."),
        std::string("a/../b"), std::string(".git/x"), std::string("a\\b"), std::string("a\nb"),
        with_nul, std::string(256, 'a'), std::string(1001, '/')})
    EXPECT_FALSE(is_safe_path(path)) << path;
}

TEST(FailpointSettings, AreCheckedAndCounted) {
  Failpoints none;
  EXPECT_TRUE(none.hit("blob-sync").ok());
  auto third = Failpoints::parse("blob-sync=full@3");
  ASSERT_TRUE(third.has_value());
  EXPECT_TRUE(third->hit("blob-rename").ok());
  EXPECT_TRUE(third->hit("blob-sync").ok());
  EXPECT_TRUE(third->hit("blob-sync").ok());
  EXPECT_EQ(third->hit("blob-sync").code(), StatusCode::kResourceExhausted);
  EXPECT_TRUE(third->hit("blob-sync").ok());
  for (const char* text : {"none", "blob-sync=explode", "blob-sync@0", "blob-sync@x", "=full"})
    EXPECT_FALSE(Failpoints::parse(text).has_value()) << text;
}

}  // namespace
}  // namespace hearth::hub
