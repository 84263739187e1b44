#include "hub/model_store.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "hub/bundle.h"
#include "hub/digest.h"
#include "hub/partial_file.h"
#include "tests/support/temp_directory.h"

namespace hearth::hub {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class Store : public testing::Test {
 protected:
  ModelName name(std::string_view text) const { return ModelName::parse(text).value(); }

  std::string add_text(StoreWriter& writer, const std::string& content) const {
    std::string_view rest = content;
    const auto read = [&](std::span<char> buffer) -> Result<std::size_t> {
      const std::size_t count = std::min<std::size_t>(3, std::min(buffer.size(), rest.size()));
      std::ranges::copy(rest.substr(0, count), buffer.begin());
      rest.remove_prefix(count);
      return count;
    };
    return writer.copy_blob(read, content.size()).value();
  }

  void add(std::string_view model, const std::string& file, const std::string& content) {
    auto writer = StoreWriter::open(store_, failpoints_).value();
    const std::string sha256 = add_text(writer, content);
    const Manifest manifest{
        .files = {{.path = file, .size_bytes = content.size(), .sha256 = sha256}},
        .source = {.origin = "test", .repository = {}, .revision = {}, .commit = {}}};
    ASSERT_TRUE(writer.commit(name(model), manifest).ok());
  }

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    const StoreListing listing = store_.list().value();
    for (const StoredModel& model : listing.models)
      names.push_back(model.name.text());
    return names;
  }

  std::string found(std::string_view text) const {
    const auto model = store_.find(name(text));
    return model.has_value() ? model->name.text() : model.error().message();
  }

  std::string resolved(std::string_view text) const {
    const auto path = store_.resolve(store_.find(name(text)).value());
    if (!path.has_value()) return path.error().message();
    std::ifstream file(*path);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  const test::TempDirectory directory_;
  const ModelStore store_{directory_.path() / "store"};
  Failpoints failpoints_;
};

TEST_F(Store, IsEmptyBeforeAnythingIsAddedAndReadingMakesNothing) {
  EXPECT_THAT(names(), ElementsAre());
  EXPECT_THAT(found("m"), HasSubstr("not in the registry"));
  EXPECT_TRUE(store_.collect({.dry_run = false}).value().empty());
  EXPECT_FALSE(std::filesystem::exists(store_.root()));
}

TEST_F(Store, FindsByTagWhateverItsCaseAndTheOnlyOneWithout) {
  add("org/m:Q4_0", "m.gguf", "one");
  EXPECT_EQ(found("org/m"), "org/m:Q4_0");
  EXPECT_EQ(found("org/m:q4_0"), "org/m:Q4_0");
  EXPECT_THAT(found("org/m:Q8_0"), HasSubstr("not in the registry"));
  EXPECT_THAT(found("m"), HasSubstr("not in the registry"));
  add("org/m:Q8_0", "m.gguf", "two");
  EXPECT_THAT(found("org/m"), HasSubstr("org/m:Q4_0, org/m:Q8_0"));
  add("org/m", "m.gguf", "three");
  EXPECT_EQ(found("org/m"), "org/m:latest");
  add("org/m:Q4_0@v1", "m.gguf", "four");
  EXPECT_EQ(found("org/m:Q4_0"), "org/m:Q4_0");
  EXPECT_EQ(found("org/m@v1"), "org/m:Q4_0@v1");
  EXPECT_EQ(resolved("org/m@v1"), "four");
}

TEST_F(Store, ANewContentReplacesTheOldAndGarbageGoes) {
  add("m", "m.gguf", "old");
  add("m", "m.gguf", "new");
  EXPECT_EQ(resolved("m"), "new");
  const auto would = store_.collect({.dry_run = true}).value();
  EXPECT_EQ(would.size(), 3u);  // A snapshot, a blob and its checksums.
  EXPECT_EQ(store_.collect({.dry_run = false}).value().size(), 3u);
  EXPECT_TRUE(store_.collect({.dry_run = true}).value().empty());
  EXPECT_EQ(resolved("m"), "new");
}

TEST_F(Store, PackedWeightsAreMadeAnewAndSoCollected) {
  add("m", "m.gguf", "content");
  const auto packed = store_.root() / kPackedDirectory;
  std::filesystem::create_directory(packed);
  std::ofstream(packed / "key.panels") << "panels";
  const auto removed = store_.collect({.dry_run = false}).value();
  ASSERT_EQ(removed.size(), 1u);
  EXPECT_EQ(removed[0].size_bytes, 6u);
  EXPECT_TRUE(std::filesystem::is_empty(packed));
  EXPECT_EQ(resolved("m"), "content");
}

TEST_F(Store, EqualFilesAreKeptOnceAndStayWhileOneNameNeedsThem) {
  add("a", "m.gguf", "same");
  add("b", "m.gguf", "same");
  ASSERT_TRUE(store_.remove(store_.find(name("a")).value()).ok());
  EXPECT_TRUE(store_.collect({.dry_run = false}).value().empty());
  EXPECT_EQ(resolved("b"), "same");
}

TEST_F(Store, NothingIsCollectedWhileSomebodyAdds) {
  auto writer = StoreWriter::open(store_, failpoints_).value();
  const std::string sha256 = add_text(writer, "fresh");
  EXPECT_EQ(store_.collect({.dry_run = false}).error().code(), StatusCode::kUnavailable);
  EXPECT_TRUE(store_.has_blob(sha256, 5));
}

TEST_F(Store, NothingIsCollectedWhileAManifestIsDamaged) {
  add("a", "m.gguf", "content");
  std::ofstream(store_.root() / "models/-/a/latest.json") << "{";
  EXPECT_EQ(store_.list().value().damaged.size(), 1u);
  EXPECT_EQ(store_.collect({.dry_run = false}).error().code(), StatusCode::kDataLoss);
  EXPECT_EQ(store_.find(name("a")).error().code(), StatusCode::kDataLoss);
}

TEST_F(Store, DamageIsFoundAndNamed) {
  add("m", "dir/m.gguf", "content");
  const std::filesystem::path blob = store_.root() / "blobs" / sha256_of("content");
  std::filesystem::permissions(blob, std::filesystem::perms::owner_all);
  std::ofstream(blob) << "CONTENT";
  const auto model = store_.find(name("m")).value();
  EXPECT_TRUE(store_.resolve(model).has_value());  // Same size.
  const auto checked = store_.verify(model).value();
  ASSERT_EQ(checked.size(), 1u);
  EXPECT_EQ(checked[0].path, "dir/m.gguf");
  EXPECT_THAT(checked[0].status.message(), HasSubstr(sha256_of("CONTENT")));
  std::ofstream(blob) << "short";
  EXPECT_THAT(resolved("m"), HasSubstr("5 bytes instead of 7"));
}

TEST_F(Store, ChecksumsThatAreMissingOrWrongAreToldAndMadeAnew) {
  add("m", "m.gguf", "content");
  const std::string blob = sha256_of("content");
  const auto sums = store_.root() / kSumsDirectory / blob;
  EXPECT_EQ(store_.has_sums(blob), true);
  std::filesystem::remove(sums);
  EXPECT_EQ(store_.has_sums(blob), false);
  std::ofstream(sums) << "no checksums";
  EXPECT_EQ(store_.has_sums(blob).error().code(), StatusCode::kDataLoss);
  auto writer = StoreWriter::open(store_, failpoints_).value();
  EXPECT_TRUE(writer.renew_sums(blob).ok());
  EXPECT_EQ(store_.has_sums(blob), true);
}

TEST_F(Store, NothingOutsideIsReadThroughLinks) {
  add("m", "m.gguf", "content");
  const std::filesystem::path outside = directory_.path() / "outside";
  std::ofstream(outside) << "content";
  const std::filesystem::path blob = store_.root() / "blobs" / sha256_of("content");
  std::filesystem::remove(blob);
  std::filesystem::create_symlink(outside, blob);
  EXPECT_THAT(resolved("m"), HasSubstr("is a link"));
  EXPECT_FALSE(store_.verify(store_.find(name("m")).value()).value()[0].status.ok());

  std::filesystem::remove(blob);
  std::ofstream(blob) << "content";
  EXPECT_EQ(resolved("m"), "content");
  const auto link =
      store_.root() / "snapshots" / store_.find(name("m"))->manifest.content_id() / "m.gguf";
  std::filesystem::remove(link);
  std::filesystem::create_symlink(outside, link);
  EXPECT_THAT(resolved("m"), HasSubstr("leads elsewhere"));
  add("m", "m.gguf", "content");  // Puts it right.
  EXPECT_EQ(resolved("m"), "content");

  std::filesystem::rename(store_.root() / "models", directory_.path() / "moved");
  std::filesystem::create_directory_symlink(directory_.path() / "moved", store_.root() / "models");
  EXPECT_THAT(names(), ElementsAre());
  EXPECT_FALSE(store_.list().value().damaged.empty());
  EXPECT_FALSE(store_.collect({.dry_run = false}).has_value());  // Everything would look unneeded.
  EXPECT_FALSE(StoreWriter::open(store_, failpoints_).has_value());
}

TEST_F(Store, ASourceThatEndsEarlyOrDiffersAddsNothing) {
  auto writer = StoreWriter::open(store_, failpoints_).value();
  const auto nothing = [](std::span<char>) -> Result<std::size_t> { return 0; };
  EXPECT_EQ(writer.copy_blob(nothing, 5).error().code(), StatusCode::kDataLoss);
  const auto zeros = [](std::span<char> buffer) -> Result<std::size_t> {
    std::ranges::fill(buffer, '\0');
    return buffer.size();
  };
  EXPECT_FALSE(writer.copy_blob(zeros, 5, std::string(64, '0')).has_value());
  EXPECT_TRUE(std::filesystem::is_empty(store_.root() / "blobs"));
  EXPECT_TRUE(std::filesystem::is_empty(store_.root() / "partial"));
}

TEST_F(Store, ABundleCarriesAModelToAnotherRegistryAndEveryFlippedByteIsFound) {
  add("org/m:Q4_0", "m.gguf", std::string(600, 'x'));
  const std::filesystem::path bundle = directory_.path() / "m.tar";
  ASSERT_TRUE(export_bundle(store_, store_.find(name("org/m")).value(), bundle).ok());
  const ModelStore other(directory_.path() / "other");
  {
    auto writer = StoreWriter::open(other, failpoints_).value();
    EXPECT_EQ(import_model(writer, bundle, {})->name.text(), "org/m:Q4_0");
    EXPECT_EQ(import_model(writer, bundle, name("x"))->name.text(), "x:Q4_0");
  }
  EXPECT_TRUE(other.resolve(other.find(name("org/m")).value()).has_value());

  std::ifstream file(bundle, std::ios::binary);
  const std::string whole{std::istreambuf_iterator<char>(file), {}};
  for (const std::size_t at : {std::size_t{20}, std::size_t{520}, whole.find("blobs/") + 10,
                               whole.find("xxxx"), whole.find("xxxx") + 599}) {
    std::string changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    std::ofstream(bundle, std::ios::binary) << changed;
    const ModelStore third(directory_.path() / fmt::format("third{}", at));
    auto writer = StoreWriter::open(third, failpoints_).value();
    EXPECT_FALSE(import_model(writer, bundle, {}).has_value()) << at;
    EXPECT_TRUE(third.list().value().models.empty());
  }
  for (const std::size_t length :
       {std::size_t{0}, std::size_t{100}, std::size_t{512}, whole.find("xxxx") + 5}) {
    std::ofstream(bundle, std::ios::binary) << whole.substr(0, length);
    auto writer = StoreWriter::open(other, failpoints_).value();
    EXPECT_FALSE(import_model(writer, bundle, name("cut")).has_value()) << length;
  }
}

TEST_F(Store, APartialFileRemembersWhatIsDurableAndTrustsNothingElse) {
  PullObserver nobody;
  std::filesystem::create_directories(store_.root());
  const PartialFileOptions options{.path = store_.root() / "p", .size_bytes = 10, .part_bytes = 4};
  const auto open = [&] { return PartialFile::open(options, nobody, failpoints_).value(); };
  {
    PartialFile file = open();
    ASSERT_EQ(file.num_parts(), 3u);
    EXPECT_EQ(file.part(2).size(), 2u);
    ASSERT_TRUE(file.write(4, "efgh").ok());
    ASSERT_TRUE(file.finish_part(1, sha256_of("efgh")).ok());
    ASSERT_TRUE(file.set_etag("v1").ok());
    ASSERT_TRUE(file.write(0, "abcd").ok());  // Written, but never said to be durable.
  }
  {
    PartialFile file = open();
    EXPECT_FALSE(file.has_part(0));
    EXPECT_TRUE(file.has_part(1));
    EXPECT_EQ(file.etag(), "v1");
    EXPECT_EQ(file.bytes_done(), 4u);
    ASSERT_TRUE(file.finish_part(0, sha256_of("abcd")).ok());
    ASSERT_TRUE(file.write(8, "ij").ok());
    ASSERT_TRUE(file.finish_part(2, sha256_of("ij")).ok());
    EXPECT_TRUE(file.complete());
    EXPECT_EQ(file.sha256().value(), sha256_of("abcdefghij"));
    ASSERT_TRUE(file.write(0, "X").ok());
  }
  PartialFile file = open();
  EXPECT_FALSE(file.has_part(0));
  EXPECT_TRUE(file.has_part(2));
  ASSERT_TRUE(file.restart(false).ok());
  EXPECT_EQ(file.num_parts(), 1u);
  EXPECT_EQ(file.bytes_done(), 0u);
}

TEST_F(Store, AnAbsurdSizeDoesNotMakeAnAbsurdNumberOfParts) {
  PullObserver nobody;
  std::filesystem::create_directories(store_.root());
  const auto file = PartialFile::open(
      {.path = store_.root() / "p", .size_bytes = std::uint64_t{1} << 50, .part_bytes = 1}, nobody,
      failpoints_);
  EXPECT_LE(file->num_parts(), 10'000u);
}

}  // namespace
}  // namespace hearth::hub
