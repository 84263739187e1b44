#include "server/http_server.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <optional>

#include "server/http_client_test_util.h"

namespace hearth {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using test::TestClient;
using test::TestResponse;

// A value one thread sets and another waits for.
template <typename T>
class Mailbox {
 public:
  void put(T value) {
    const std::lock_guard lock(mutex_);
    value_ = std::move(value);
    changed_.notify_all();
  }
  T take() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return value_.has_value(); });
    T value = *std::move(value_);
    value_.reset();
    return value;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<T> value_;
};

// Answers every request with a description of what it understood.
void echo(const HttpRequest& request, const std::shared_ptr<HttpExchange>& exchange) {
  HttpResponse response;
  response.content_type = "text/plain";
  response.body = request.method + " " + request.path + "?" + request.query + " " + request.body;
  exchange->respond(std::move(response));
}

std::unique_ptr<HttpServer> serve(HttpServerOptions options, HttpServer::Handler handler = echo,
                                  HttpServer::Observer observer = {}) {
  options.port = 0;
  auto server = HttpServer::start(options, std::move(handler), std::move(observer));
  EXPECT_TRUE(server.has_value()) << server.error().to_string();
  return *std::move(server);
}

TestResponse exchange_bytes(const HttpServerOptions& options, std::string_view bytes) {
  const auto server = serve(options);
  TestClient client(server->port());
  client.send(bytes);
  return client.read_response();
}

int status_of(std::string_view bytes) {
  return exchange_bytes({}, bytes).status;
}

TEST(HttpServer, AnswersARequest) {
  const TestResponse response =
      exchange_bytes({}, "POST /a/b?c=d HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nxyz");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, "POST /a/b?c=d xyz");
  EXPECT_EQ(response.headers.at("content-type"), "text/plain");
  EXPECT_TRUE(response.headers.contains("date"));
}

TEST(HttpServer, EchoesAWellFormedRequestIdAndReplacesAnyOther) {
  const auto server = serve({});
  TestClient client(server->port());
  client.send("GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: abc-1\r\n\r\n");
  EXPECT_EQ(client.read_response().headers.at("x-request-id"), "abc-1");
  client.send("GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: a b\r\n\r\n");
  EXPECT_EQ(client.read_response().headers.at("x-request-id").substr(0, 4), "req-");
}

TEST(HttpServer, KeepsAConnectionForManyRequests) {
  const auto server = serve({});
  TestClient client(server->port());
  for (int i = 0; i < 5; ++i) {
    client.post("/r" + std::to_string(i), "b");
    EXPECT_EQ(client.read_response().body, "POST /r" + std::to_string(i) + "? b");
  }
}

TEST(HttpServer, AnswersPipelinedRequestsInOrder) {
  const auto server = serve({});
  TestClient client(server->port());
  std::string bytes;
  for (int i = 0; i < 20; ++i)
    bytes += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: x\r\n\r\n";
  client.send(bytes);
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(client.read_response().body, "GET /" + std::to_string(i) + "? ");
}

TEST(HttpServer, ReadsChunkedBodies) {
  const TestResponse response = exchange_bytes(
      {},
      "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n"
      "0\r\n\r\n");
  EXPECT_EQ(response.body, "POST /? abcde");
}

TEST(HttpServer, AnswersHeadWithoutABody) {
  const auto server = serve({});
  TestClient client(server->port());
  client.send("HEAD /x HTTP/1.1\r\nHost: x\r\n\r\nGET /y HTTP/1.1\r\nHost: x\r\n\r\n");
  const TestResponse head = client.read_response(/*has_body=*/false);
  EXPECT_EQ(head.headers.at("content-length"), std::to_string(std::string("HEAD /x? ").size()));
  EXPECT_EQ(client.read_response().body, "GET /y? ");
}

TEST(HttpServer, SendsContinueBeforeAnAnnouncedBody) {
  const auto server = serve({});
  TestClient client(server->port());
  client.send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_EQ(client.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("ok");
  EXPECT_EQ(client.read_response().body, "POST /? ok");
}

TEST(HttpServer, ClosesAfterAnHttp10RequestUnlessAskedNotTo) {
  const auto server = serve({});
  TestClient once(server->port());
  once.send("GET / HTTP/1.0\r\n\r\n");
  EXPECT_EQ(once.read_response().headers.at("connection"), "close");
  EXPECT_TRUE(once.at_end());
  TestClient kept(server->port());
  kept.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_EQ(kept.read_response().headers.at("connection"), "keep-alive");
  kept.send("GET /2 HTTP/1.0\r\n\r\n");
  EXPECT_EQ(kept.read_response().body, "GET /2? ");
}

TEST(HttpServer, UnderstandsAbsoluteTargets) {
  EXPECT_EQ(exchange_bytes({}, "GET http://x:1/a?b HTTP/1.1\r\nHost: x\r\n\r\n").body, "GET /a?b ");
  EXPECT_EQ(status_of("GET a HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
  EXPECT_EQ(status_of("CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
}

TEST(HttpServer, StreamsInChunksOrUntilTheEnd) {
  const auto server =
      serve({}, [](const HttpRequest&, const std::shared_ptr<HttpExchange>& exchange) {
        HttpResponse head;
        head.content_type = "text/event-stream";
        exchange->begin_stream(head);
        exchange->write("one");
        exchange->write("two two two two!");
        exchange->end_stream();
      });
  TestClient modern(server->port());
  modern.get("/");
  EXPECT_EQ(modern.read_head().headers.at("transfer-encoding"), "chunked");
  EXPECT_EQ(modern.read_until("0\r\n\r\n"), "3\r\none\r\n10\r\ntwo two two two!\r\n0\r\n\r\n");
  TestClient old(server->port());
  old.send("GET / HTTP/1.0\r\n\r\n");
  EXPECT_EQ(old.read_response().body, "onetwo two two two!");
}

TEST(HttpServer, AnswersADroppedExchangeWith500) {
  const auto server = serve({}, [](const HttpRequest&, const std::shared_ptr<HttpExchange>&) {});
  TestClient client(server->port());
  client.get("/");
  EXPECT_EQ(client.read_response().status, 500);
}

TEST(HttpServer, NamesPlaceAndReasonWhenItCannotListen) {
  const auto server = serve({});
  HttpServerOptions options;
  options.port = server->port();
  const auto second = HttpServer::start(options, echo, {});
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code(), StatusCode::kUnavailable);
  EXPECT_NE(second.error().message().find("127.0.0.1 port " + std::to_string(server->port())),
            std::string::npos);
}

TEST(HttpServer, LetsClientsWaitBeyondTheConnectionLimit) {
  HttpServerOptions options;
  options.max_connections = 1;
  const auto server = serve(options);
  auto first = std::make_unique<TestClient>(server->port());
  first->get("/1");
  EXPECT_EQ(first->read_response().status, 200);
  TestClient second(server->port());
  second.get("/2");
  first.reset();
  EXPECT_EQ(second.read_response().body, "GET /2? ");
}

TEST(HttpServer, ClosesIdleConnections) {
  HttpServerOptions options;
  options.idle_timeout = milliseconds(1);
  const auto server = serve(options);
  TestClient client(server->port());
  EXPECT_TRUE(client.at_end());
}

TEST(HttpServer, ReportsEachRequestToTheObserver) {
  Mailbox<std::string> seen;
  const auto server = serve(
      {},
      [](const HttpRequest& request, const std::shared_ptr<HttpExchange>& exchange) {
        exchange->set_route("/route");
        echo(request, exchange);
      },
      [&seen](const HttpRecord& record) {
        seen.put(std::string(record.method) + " " + std::string(record.path) + " " +
                 std::string(record.route) + " " + std::string(record.request_id) + " " +
                 std::to_string(record.status));
      });
  TestClient client(server->port());
  client.post("/x", "");
  EXPECT_EQ(seen.take(), "POST /x /route test-1 200");
  TestClient bad(server->port());
  bad.send("nonsense\r\n\r\n");
  EXPECT_EQ(bad.read_response().status, 400);
  EXPECT_EQ(seen.take().substr(0, 4), "- - ");
}

// Row I3 of the test matrix: lengths.
TEST(HttpServerI3, RefusesALongBodyByItsHeadAlone) {
  HttpServerOptions options;
  options.max_body_bytes = 10;
  const TestResponse response =
      exchange_bytes(options, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n");
  EXPECT_EQ(response.status, 413);
  EXPECT_NE(response.body.find("body_too_large"), std::string::npos);
  EXPECT_EQ(response.headers.at("connection"), "close");
}

TEST(HttpServerI3, RefusesAChunkedBodyOnceItIsTooLong) {
  HttpServerOptions options;
  options.max_body_bytes = 10;
  EXPECT_EQ(exchange_bytes(options,
                           "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                           "8\r\nabcdefgh\r\n8\r\nabcdefgh\r\n")
                .status,
            413);
}

TEST(HttpServerI3, RefusesBodiesBeyondTheMemoryForAll) {
  HttpServerOptions options;
  options.max_total_body_bytes = 10;
  const TestResponse response = exchange_bytes(
      options, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n01234567890");
  EXPECT_EQ(response.status, 503);
  EXPECT_TRUE(response.headers.contains("retry-after"));
}

TEST(HttpServerI3, ReadsTheErrorAlthoughTheBodyIsStillComing) {
  HttpServerOptions options;
  options.max_body_bytes = 10;
  const auto server = serve(options);
  TestClient client(server->port());
  client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n");
  client.send(std::string(8'000'000, 'x'));
  EXPECT_EQ(client.read_response().status, 413);
}

TEST(HttpServerI3, ForgetsABodyThatEndsEarly) {
  const auto server = serve({});
  TestClient client(server->port());
  client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc");
  client.finish_sending();
  EXPECT_TRUE(client.at_end());
}

TEST(HttpServerI3, RefusesEveryAmbiguousFraming) {
  const std::string line = "POST / HTTP/1.1\r\nHost: x\r\n";
  for (const std::string headers :
       {"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\nContent-Length: 4\r\n", "Content-Length: 3\r\nContent-Length: 3\r\n",
        "Content-Length: 3, 3\r\n", "Content-Length: -1\r\n", "Content-Length: +3\r\n",
        "Content-Length: 0x3\r\n", "Content-Length: 99999999999999999999999\r\n",
        "Transfer-Encoding: gzip\r\n", "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n", "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding : chunked\r\n", "Content-Length : 3\r\n", "Host: y\r\n"}) {
    const TestResponse response = exchange_bytes({}, line + headers + "\r\nabc");
    EXPECT_EQ(response.status, 400) << headers;
    EXPECT_EQ(response.headers.at("connection"), "close") << headers;
  }
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"), 400);
  EXPECT_EQ(status_of("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(status_of(line + "Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n"), 400);
  EXPECT_EQ(status_of(line + "Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n"), 400);
  EXPECT_EQ(status_of(line + "Expect: 200-ok\r\n\r\n"), 417);
  EXPECT_EQ(status_of("GET / HTTP/2.0\r\nHost: x\r\n\r\n"), 505);
}

TEST(HttpServerI5, RefusesLongHeads) {
  EXPECT_EQ(
      status_of("GET / HTTP/1.1\r\nHost: x\r\nA: " + std::string(1'000'000, 'a') + "\r\n\r\n"),
      431);
  EXPECT_EQ(status_of("GET /" + std::string(1'000'000, 'a')), 431);
  std::string many = "GET / HTTP/1.1\r\nHost: x\r\n";
  for (int i = 0; i < 10'000; ++i)
    many += "h: v\r\n";
  EXPECT_EQ(status_of(many + "\r\n"), 431);
}

TEST(HttpServerI5, RefusesBadCharacters) {
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: x\r\nA: b\x01\r\n\r\n"), 400);
  EXPECT_EQ(status_of(std::string("GET /") + '\0' + " HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
  EXPECT_EQ(status_of("G@T / HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
}

TEST(HttpServerI6, GivesUpOnSlowHeads) {
  HttpServerOptions options;
  options.header_timeout = milliseconds(5);
  const auto server = serve(options);
  TestClient client(server->port());
  client.send("GET / HTTP/1.1\r\nHost:");
  EXPECT_EQ(client.read_response().status, 408);
  EXPECT_TRUE(client.at_end());
}

TEST(HttpServerI6, GivesUpOnSlowBodies) {
  HttpServerOptions options;
  options.body_window = milliseconds(5);
  const auto server = serve(options);
  TestClient client(server->port());
  client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\na");
  EXPECT_EQ(client.read_response().status, 408);
}

// Streams without end; tells when the client is taken for gone.
class EndlessStream {
 public:
  void operator()(const HttpRequest&, const std::shared_ptr<HttpExchange>& exchange) {
    exchange->on_disconnect([this] {
      kept_.reset();
      gone_.put(true);
    });
    kept_ = exchange;
    exchange->begin_stream({});
    write_more();
  }
  bool wait_until_gone() { return gone_.take(); }

 private:
  void write_more() {
    if (!kept_) return;
    kept_->write(std::string(10'000, 'x'));
    kept_->post([this] { write_more(); });
  }
  std::shared_ptr<HttpExchange> kept_;
  Mailbox<bool> gone_;
};

TEST(HttpServerI7, CutsAClientWhoseBufferIsFull) {
  EndlessStream stream;
  const auto server = serve({}, std::ref(stream));
  TestClient client(server->port(), /*receive_buffer_bytes=*/4096);
  client.get("/");
  EXPECT_TRUE(stream.wait_until_gone());
  TestClient other(server->port());
  EXPECT_TRUE(other.connected());
}

TEST(HttpServerI7, CutsAClientThatTakesNothingForTooLong) {
  HttpServerOptions options;
  options.write_timeout = milliseconds(5);
  options.max_stream_buffer_bytes = 1u << 30;  // More than the kernel takes for the client.
  Mailbox<bool> gone;
  std::shared_ptr<HttpExchange> kept;
  const auto server =
      serve(options, [&](const HttpRequest&, const std::shared_ptr<HttpExchange>& exchange) {
        kept = exchange;
        exchange->on_disconnect([&gone] { gone.put(true); });
        exchange->begin_stream({});
        for (int i = 0; i < 64; ++i)
          exchange->write(std::string(1'000'000, 'x'));
      });
  TestClient client(server->port(), /*receive_buffer_bytes=*/4096);
  client.get("/");
  EXPECT_TRUE(gone.take());
}

TEST(HttpServerI8, NoticesAClientThatLeavesBeforeItsAnswer) {
  Mailbox<bool> arrived, gone;
  std::shared_ptr<HttpExchange> kept;
  Mailbox<int> status;
  const auto server = serve(
      {},
      [&](const HttpRequest&, const std::shared_ptr<HttpExchange>& exchange) {
        kept = exchange;
        exchange->on_disconnect([&gone] { gone.put(true); });
        arrived.put(true);
      },
      [&status](const HttpRecord& record) { status.put(record.status); });
  TestClient client(server->port());
  client.get("/");
  arrived.take();
  client.close();
  EXPECT_TRUE(gone.take());
  EXPECT_EQ(status.take(), 499);
}

TEST(HttpServerF15, FinishesWhatIsUnderWayAndThenIsQuiet) {
  Mailbox<std::shared_ptr<HttpExchange>> arrived;
  const auto server = serve({}, [&](const HttpRequest&, std::shared_ptr<HttpExchange> exchange) {
    arrived.put(std::move(exchange));
  });
  TestClient idle(server->port());
  TestClient busy(server->port());
  busy.get("/");
  auto exchange = arrived.take();
  server->stop_accepting();
  EXPECT_TRUE(idle.at_end());
  EXPECT_FALSE(server->wait_until_quiet(std::chrono::steady_clock::now()));
  exchange->post([exchange] {
    exchange->respond({.status = 200, .content_type = "", .headers = {}, .body = "late"});
  });
  const TestResponse response = busy.read_response();
  EXPECT_EQ(response.body, "late");
  EXPECT_EQ(response.headers.at("connection"), "close");
  EXPECT_TRUE(server->wait_until_quiet(std::chrono::steady_clock::now() + minutes(1)));
  TestClient late(server->port());
  EXPECT_FALSE(late.connected());
}

TEST(HttpServerF15, CutsWhatDoesNotEnd) {
  Mailbox<bool> arrived, gone;
  std::shared_ptr<HttpExchange> kept;
  const auto server =
      serve({}, [&](const HttpRequest&, const std::shared_ptr<HttpExchange>& exchange) {
        kept = exchange;
        exchange->on_disconnect([&gone] { gone.put(true); });
        arrived.put(true);
      });
  TestClient client(server->port());
  client.get("/");
  arrived.take();
  server->stop_accepting();
  server->cut_connections();
  EXPECT_TRUE(gone.take());
  EXPECT_TRUE(server->wait_until_quiet(std::chrono::steady_clock::now() + minutes(1)));
  EXPECT_TRUE(client.at_end());
}

TEST(HttpServer, AHandlerThatThrowsCostsItsConnectionAlone) {
  Mailbox<bool> closed;
  const auto server = serve({}, [&](const HttpRequest& request, const auto& exchange) {
    if (request.path == "/ok") return echo(request, exchange);
    exchange->on_disconnect([&] { closed.put(true); });
    exchange->post([exchange] { throw std::bad_alloc(); });
  });
  TestClient unlucky(server->port());
  unlucky.get("/throws");
  EXPECT_TRUE(closed.take());
  TestClient other(server->port());
  other.get("/ok");
  EXPECT_EQ(other.read_response().status, 200);
}

TEST(HttpServer, AChunkHeadOrTrailerWithoutEndIsRefused) {
  const std::string head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
  HttpServerOptions options;
  options.max_header_bytes = 8192;
  const std::string endless(64 << 10, 'a');
  EXPECT_EQ(exchange_bytes(options, head + "5;" + endless).status, 400);
  EXPECT_EQ(exchange_bytes(options, head + "0\r\nX: " + endless).status, 400);
}

TEST(HttpServer, AClientThatPipelinesWithoutEndIsCut) {
  Mailbox<bool> disconnected;
  const auto server = serve({}, [&](const HttpRequest&, const auto& exchange) {
    exchange->on_disconnect([&disconnected, exchange] { disconnected.put(true); });
  });
  TestClient client(server->port());
  client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n" + std::string(128 << 10, 'x'));
  EXPECT_TRUE(disconnected.take());
}

}  // namespace
}  // namespace hearth
