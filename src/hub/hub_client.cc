#include "hub/hub_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <list>
#include <random>

namespace hearth::hub {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

constexpr int kMaxRedirects = 10;
constexpr int kTickMs = 200;
constexpr long kConnectTimeoutMs = 20'000;
constexpr std::size_t kMaxErrorBytes = std::size_t{64} << 10;
constexpr std::size_t kMaxHeaderBytes = std::size_t{256} << 10;
constexpr std::chrono::milliseconds kLongestDelay{30'000};
constexpr std::chrono::seconds kLongestRetryAfter{120};

struct FreeText {
  void operator()(char* text) const { curl_free(text); }
};
struct FreeUrl {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
struct FreeEasy {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct FreeMulti {
  void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};
struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using Url = std::unique_ptr<CURLU, FreeUrl>;

std::string url_part(CURLU* url, CURLUPart part, unsigned int flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK) return {};
  const std::unique_ptr<char, FreeText> owner(text);
  return text;
}

// An absolute http(s) address; nullptr for anything else.
Url parse_url(const std::string& text) {
  Url url(curl_url());
  if (curl_url_set(url.get(), CURLUPART_URL, text.c_str(), CURLU_DISALLOW_USER) != CURLUE_OK) {
    return nullptr;
  }
  const std::string scheme = url_part(url.get(), CURLUPART_SCHEME);
  return scheme == "http" || scheme == "https" ? std::move(url) : nullptr;
}

// Scheme, host and port: what a token belongs to.
std::string origin_of(const Url& url) {
  return fmt::format("{}://{}:{}", url_part(url.get(), CURLUPART_SCHEME),
                     url_part(url.get(), CURLUPART_HOST),
                     url_part(url.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT));
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "[::1]" || host.starts_with("127.");
}

bool may_pass(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_WEIRD_SERVER_REPLY:
      return true;
    default:
      return false;
  }
}

bool may_pass(int status) {
  return status == 408 || status == 429 || status >= 500;
}

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

}  // namespace

struct HubClient::Impl {
  std::unique_ptr<CURLM, FreeMulti> multi{curl_multi_init()};
  std::string origin;        // Of the endpoint.
  bool allows_http = false;  // The user wrote http:// himself.
};

// One run of transfers.
class HubClient::Session {
 public:
  Session(HubClient& client, FetchHandler& handler)
      : options_(client.options_),
        impl_(*client.impl_),
        handler_(handler),
        random_(std::random_device()()) {}

  ~Session() {
    for (Transfer& transfer : transfers_)
      stop(transfer);
  }

  Status run() {
    for (;;) {
      HEARTH_RETURN_IF_ERROR(fill());
      if (transfers_.empty()) return {};
      int num_running = 0;
      curl_multi_perform(impl_.multi.get(), &num_running);
      HEARTH_RETURN_IF_ERROR(take_results());
      HEARTH_RETURN_IF_ERROR(handler_.on_tick());
      if (std::exchange(changed_, false)) continue;  // What is new has nothing to wait for yet.
      curl_multi_poll(impl_.multi.get(), nullptr, 0, poll_timeout_ms(), nullptr);
      HEARTH_RETURN_IF_ERROR(wake_waiting());
    }
  }

 private:
  struct Transfer {
    Session* session = nullptr;
    Fetch fetch;
    std::string url;  // Where redirects have led.
    int num_redirects = 0;
    std::size_t num_failures = 0;  // In a row.
    std::uint64_t received = 0;
    std::unique_ptr<CURL, FreeEasy> easy;
    std::unique_ptr<curl_slist, FreeList> headers;
    std::array<char, CURL_ERROR_SIZE> error_text{};
    bool active = false;     // Else it waits until `start_at`.
    bool head_told = false;  // Of this attempt, to the handler.
    bool had_token = false;
    SteadyTime start_at;
    HttpHead head;
    std::size_t header_bytes = 0;
    std::string error_body;
    Status failure;  // What a callback found.

    std::uint64_t wanted() const { return fetch.range ? fetch.range->size() : 0; }
  };

  Status fill() {
    while (transfers_.size() < options_.max_connections) {
      std::optional<Fetch> fetch = handler_.next();
      if (!fetch.has_value()) return {};
      Transfer& transfer = transfers_.emplace_back();
      transfer.session = this;
      transfer.fetch = *std::move(fetch);
      HEARTH_RETURN_IF_ERROR(begin_attempt(transfer));
    }
    return {};
  }

  Status begin_attempt(Transfer& transfer) {
    transfer.url = transfer.fetch.url;
    transfer.num_redirects = 0;
    transfer.head = {};
    transfer.head_told = false;
    if (!transfer.fetch.range) transfer.received = 0;
    return start(transfer);
  }

  Status start(Transfer& transfer) {
    const Url url = parse_url(transfer.url);
    if (url == nullptr) {
      return make_status(StatusCode::kInvalidArgument, "'{}' is no http:// or https:// address",
                         shown_url(transfer.url));
    }
    if (!impl_.allows_http && url_part(url.get(), CURLUPART_SCHEME) == "http") {
      return make_status(StatusCode::kInvalidArgument,
                         "'{}' leads from https:// to unencrypted http://; refused",
                         shown_url(transfer.url));
    }
    transfer.easy.reset(curl_easy_init());
    transfer.had_token = !options_.token.empty() && origin_of(url) == impl_.origin;
    transfer.headers.reset(
        transfer.had_token
            ? curl_slist_append(nullptr, ("Authorization: Bearer " + options_.token).c_str())
            : nullptr);
    transfer.header_bytes = 0;
    transfer.error_body.clear();
    transfer.error_text.front() = '\0';
    set_options(transfer);
    curl_multi_add_handle(impl_.multi.get(), transfer.easy.get());
    transfer.active = true;
    changed_ = true;
    return {};
  }

  void set_options(Transfer& transfer) {
    CURL* easy = transfer.easy.get();
    curl_easy_setopt(easy, CURLOPT_URL, transfer.url.c_str());
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    // Redirects are followed here, one by one, so that the token stays where it belongs.
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    if (!options_.ca_file.empty()) {
      curl_easy_setopt(easy, CURLOPT_CAINFO, options_.ca_file.c_str());
    }
    curl_easy_setopt(easy, CURLOPT_USERAGENT, options_.user_agent.c_str());
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer.headers.get());
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, kConnectTimeoutMs);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME,
                     std::max(1L, static_cast<long>(options_.stall_timeout.count() / 1000)));
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 256L * 1024);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer.error_text.data());
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &Session::on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, &transfer);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Session::on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, &transfer);
    if (transfer.fetch.range) {
      const ByteRange range = *transfer.fetch.range;
      const std::string text = fmt::format("{}-{}", range.begin + transfer.received, range.end - 1);
      curl_easy_setopt(easy, CURLOPT_RANGE, text.c_str());
    }
  }

  void stop(Transfer& transfer) {
    if (transfer.active) curl_multi_remove_handle(impl_.multi.get(), transfer.easy.get());
    transfer.active = false;
  }

  static std::size_t on_header(const char* data, std::size_t, std::size_t size, void* context) {
    auto& transfer = *static_cast<Transfer*>(context);
    transfer.header_bytes += size;
    if (transfer.header_bytes > kMaxHeaderBytes) return 0;
    std::string_view line(data, size);
    while (line.ends_with('\n') || line.ends_with('\r'))
      line.remove_suffix(1);
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return size;
    std::string name(line.substr(0, colon));
    for (char& c : name) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    std::string_view value = line.substr(colon + 1);
    value.remove_prefix(std::min(value.find_first_not_of(" \t"), value.size()));
    transfer.head.headers.emplace_back(std::move(name), value);
    return size;
  }

  static std::size_t on_body(const char* data, std::size_t, std::size_t size, void* context) {
    auto& transfer = *static_cast<Transfer*>(context);
    transfer.session->read_status(transfer);
    const std::string_view bytes(data, size);
    if (transfer.head.status != 200 && transfer.head.status != 206) {
      transfer.error_body.append(
          bytes.substr(0, kMaxErrorBytes - std::min(kMaxErrorBytes, transfer.error_body.size())));
      return size;
    }
    transfer.failure = transfer.session->deliver(transfer, bytes);
    return transfer.failure.ok() ? size : 0;
  }

  static void read_status(Transfer& transfer) {
    long status = 0;
    curl_easy_getinfo(transfer.easy.get(), CURLINFO_RESPONSE_CODE, &status);
    transfer.head.status = static_cast<int>(status);
  }

  Status tell_head(Transfer& transfer) {
    if (transfer.head_told) return {};
    transfer.head_told = true;
    return handler_.on_head(transfer.fetch.id, transfer.head, transfer.received);
  }

  Status deliver(Transfer& transfer, std::string_view bytes) {
    HEARTH_RETURN_IF_ERROR(tell_head(transfer));
    if (transfer.fetch.range && bytes.size() > transfer.wanted() - transfer.received) {
      return make_status(StatusCode::kDataLoss, "'{}' sends more than the {} bytes asked for",
                         shown_url(transfer.url), transfer.wanted());
    }
    transfer.received += bytes.size();
    // Without ranges every attempt begins anew, so that bytes alone are no progress.
    if (transfer.fetch.range) transfer.num_failures = 0;
    return handler_.on_data(transfer.fetch.id, bytes);
  }

  Status take_results() {
    int num_left = 0;
    while (const CURLMsg* message = curl_multi_info_read(impl_.multi.get(), &num_left)) {
      if (message->msg != CURLMSG_DONE) continue;
      char* context = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &context);
      const CURLcode code = message->data.result;
      auto& transfer = *reinterpret_cast<Transfer*>(context);  // As CURLOPT_PRIVATE got it.
      read_status(transfer);
      stop(transfer);
      HEARTH_RETURN_IF_ERROR(finish_attempt(transfer, code));
    }
    return {};
  }

  Status finish_attempt(Transfer& transfer, CURLcode code) {
    HEARTH_RETURN_IF_ERROR(transfer.failure);
    const int status = transfer.head.status;
    if (code == CURLE_OK && is_redirect(status)) return follow(transfer);
    if (code == CURLE_OK && status != 200 && status != 206) {
      const Status failure = failure_status({.head = transfer.head,
                                             .url = transfer.url,
                                             .body = transfer.error_body,
                                             .had_token = transfer.had_token});
      return may_pass(status) ? retry(transfer, failure) : failure;
    }
    if (code == CURLE_OK) {
      HEARTH_RETURN_IF_ERROR(tell_head(transfer));
      if (!transfer.fetch.range || transfer.received == transfer.wanted()) return done(transfer);
      code = CURLE_PARTIAL_FILE;
    }
    const std::string_view detail = transfer.error_text.front() != '\0'
                                        ? std::string_view(transfer.error_text.data())
                                        : std::string_view(curl_easy_strerror(code));
    const Status failure = make_status(StatusCode::kUnavailable, "cannot fetch '{}': {}",
                                       shown_url(transfer.url), detail);
    return may_pass(code) ? retry(transfer, failure) : failure;
  }

  Status done(Transfer& transfer) {
    const std::size_t id = transfer.fetch.id;
    changed_ = true;
    transfers_.remove_if([&](const Transfer& other) { return &other == &transfer; });
    return handler_.on_done(id);
  }

  Status follow(Transfer& transfer) {
    const std::string* location = transfer.head.find("location");
    const Url url = parse_url(transfer.url);
    if (location == nullptr ||
        curl_url_set(url.get(), CURLUPART_URL, location->c_str(), 0) != CURLUE_OK) {
      return make_status(StatusCode::kDataLoss, "'{}' redirects to nowhere",
                         shown_url(transfer.url));
    }
    if (++transfer.num_redirects > kMaxRedirects) {
      return make_status(StatusCode::kUnavailable, "'{}' redirects more than {} times",
                         shown_url(transfer.fetch.url), kMaxRedirects);
    }
    transfer.url = url_part(url.get(), CURLUPART_URL);
    return start(transfer);
  }

  Status retry(Transfer& transfer, const Status& failure) {
    if (++transfer.num_failures >= options_.max_attempts) {
      return make_status(failure.code(), "{}; gave up after {} attempts", failure.message(),
                         transfer.num_failures);
    }
    std::chrono::milliseconds delay = kLongestDelay;
    if (transfer.num_failures < 16) {
      delay = std::min<std::chrono::milliseconds>(
          delay, options_.retry_delay * (std::int64_t{1} << (transfer.num_failures - 1)));
    }
    // Clients that failed together must not come back together.
    delay = std::chrono::milliseconds(
        delay.count() * std::uniform_int_distribution<std::int64_t>(50, 150)(random_) / 100);
    if (const std::string* text = transfer.head.find("retry-after"); text != nullptr) {
      const std::chrono::seconds asked(parse_count(*text).value_or(0));
      if (asked > kLongestRetryAfter) return failure;
      delay = std::max<std::chrono::milliseconds>(delay, asked);
    }
    transfer.start_at = std::chrono::steady_clock::now() + delay;
    return {};
  }

  Status wake_waiting() {
    const SteadyTime now = std::chrono::steady_clock::now();
    for (Transfer& transfer : transfers_) {
      if (!transfer.active && transfer.start_at <= now) {
        HEARTH_RETURN_IF_ERROR(begin_attempt(transfer));
      }
    }
    return {};
  }

  int poll_timeout_ms() const {
    const SteadyTime now = std::chrono::steady_clock::now();
    std::int64_t timeout = kTickMs;
    for (const Transfer& transfer : transfers_) {
      if (transfer.active) continue;
      const auto wait = std::chrono::ceil<std::chrono::milliseconds>(transfer.start_at - now);
      timeout = std::clamp<std::int64_t>(wait.count(), 0, timeout);
    }
    return static_cast<int>(timeout);
  }

  const HubOptions& options_;
  Impl& impl_;
  FetchHandler& handler_;
  std::minstd_rand random_;
  bool changed_ = false;           // Transfers began or ended since the last look.
  std::list<Transfer> transfers_;  // Addresses must stay: curl holds them.
};

HubClient::HubClient(HubOptions options)
    : options_(std::move(options)), impl_(std::make_unique<Impl>()) {}

HubClient::~HubClient() = default;

Result<std::unique_ptr<HubClient>> HubClient::create(HubOptions options) {
  static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (started != CURLE_OK) return error(StatusCode::kInternal, "cannot start the HTTP client");
  while (options.endpoint.ends_with('/'))
    options.endpoint.pop_back();
  const Url url = parse_url(options.endpoint);
  if (url == nullptr) {
    return error(StatusCode::kInvalidArgument,
                 "the hub's address '{}' must begin with https:// or http://", options.endpoint);
  }
  const bool is_http = url_part(url.get(), CURLUPART_SCHEME) == "http";
  const std::string host = url_part(url.get(), CURLUPART_HOST);
  if (is_http && !options.token.empty() && !is_loopback(host)) {
    return error(StatusCode::kInvalidArgument,
                 "a token is not sent unencrypted to '{}': use https:// or unset HF_TOKEN", host);
  }
  if (std::ranges::any_of(options.token, [](char c) { return c <= ' ' || c == 0x7F; })) {
    return error(StatusCode::kInvalidArgument,
                 "the hub's token holds a blank or control character");
  }
  std::unique_ptr<HubClient> client(new HubClient(std::move(options)));
  client->impl_->origin = origin_of(url);
  client->impl_->allows_http = is_http;
  return client;
}

Status HubClient::run(FetchHandler& handler) {
  return Session(*this, handler).run();
}

namespace {

class MemoryHandler final : public FetchHandler {
 public:
  MemoryHandler(const std::string& url, std::size_t max_bytes, FetchHandler* tick)
      : url_(url), max_bytes_(max_bytes), tick_(tick) {}

  std::optional<Fetch> next() override {
    if (std::exchange(given_, true)) return std::nullopt;
    return Fetch{.id = 0, .url = url_};
  }
  Status on_head(std::size_t, const HttpHead& head, std::uint64_t) override {
    answer.head = head;
    answer.body.clear();
    return {};
  }
  Status on_data(std::size_t, std::string_view data) override {
    answer.body += data;
    if (answer.body.size() <= max_bytes_) return {};
    return make_status(StatusCode::kOutOfRange, "the answer of '{}' has more than {} bytes",
                       shown_url(url_), max_bytes_);
  }
  Status on_done(std::size_t) override { return {}; }
  Status on_tick() override { return tick_ == nullptr ? Status() : tick_->on_tick(); }

  HubClient::Answer answer;

 private:
  const std::string& url_;
  std::size_t max_bytes_;
  FetchHandler* tick_;
  bool given_ = false;
};

}  // namespace

Result<HubClient::Answer> HubClient::get(const std::string& url, std::size_t max_bytes,
                                         FetchHandler* tick) {
  MemoryHandler handler(url, max_bytes, tick);
  HEARTH_RETURN_IF_ERROR(run(handler));
  return std::move(handler.answer);
}

}  // namespace hearth::hub
