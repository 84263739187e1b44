"""`hearth pull` against a hub on this machine that answers well, badly, or not at all."""

import os
import random
import re
import signal
import subprocess
import threading
import unittest

from fake_hub import COMMIT, FakeHub, sha256
from hearth_e2e import (BINARY, DEADLINE_SECONDS, EXIT_FAILURE, EXIT_OK, EXIT_USAGE, HearthTest,
                        clean_environment, hearth)

PART_BYTES = 4096
SPLIT = ["big/m-Q8_0-00001-of-00002.gguf", "big/m-Q8_0-00002-of-00002.gguf"]


def random_file(seed, num_bytes=10 * PART_BYTES - 100):
    return b"GGUF" + random.Random(seed).randbytes(num_bytes - 4)


class PullTest(HearthTest):
    """A hub with two repositories and an empty registry."""

    def setUp(self):
        super().setUp()
        self.hub = FakeHub()
        self.addCleanup(self.hub.close)
        self.store = self.folder / "store"
        self.model = random_file(1)
        self.hub.add("org/tiny-GGUF", {
            "tiny.Q4_K_M.gguf": self.model, "tiny.Q4_0.gguf": random_file(2), "README.md": b"# tiny",
            "mmproj-tiny-f16.gguf": random_file(3, 100), ".gitattributes": b"*", "a b#.txt": b"",
            SPLIT[0]: random_file(4), SPLIT[1]: random_file(5)})
        self.hub.add("org/tiny", {
            "config.json": b'{"model_type": "llama"}', "tokenizer.json": b"{}",
            "model-00001-of-00002.safetensors": random_file(6),
            "model-00002-of-00002.safetensors": random_file(7),
            "model.safetensors.index.json": b"{}", "consolidated.safetensors": random_file(8),
            "pytorch_model.bin": random_file(9), "original/model.safetensors": random_file(10)})

    def environment(self, **variables):
        """Of a user whose home has no token and whose hub is ours."""
        return {"HEARTH_MODELS_DIR": str(self.store), "HF_ENDPOINT": self.hub.url,
                "HOME": str(self.folder), "HF_HOME": str(self.folder / "hf"), "HF_TOKEN": "",
                "HF_HUB_OFFLINE": "", "http_proxy": "", "https_proxy": "", "SSL_CERT_FILE": "",
                "REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": "", "HEARTH_PART_SIZE": str(PART_BYTES),
                "HEARTH_RETRY_DELAY": "1ms"} | variables

    def run_hearth(self, *arguments, **variables):
        return hearth(*arguments, environment=self.environment(**variables))

    def pull(self, name="org/tiny-GGUF:Q4_K_M", *options, **variables):
        done = self.run_hearth("pull", name, *options, **variables)
        self.assertEqual(done.returncode, EXIT_OK, done)
        return done.stdout.decode()

    def pull_fails(self, name="org/tiny-GGUF:Q4_K_M", *options, **variables):
        """The last line on standard error of a pull that must fail; nothing is listed then."""
        done = self.run_hearth("pull", name, *options, **variables)
        self.assertEqual(done.returncode, EXIT_FAILURE, done)
        self.assert_blobs_are_whole()
        return done.stderr.decode().splitlines()[-1]

    def blobs(self):
        folder = self.store / "blobs"
        return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}

    def assert_blobs_are_whole(self):
        for name, content in self.blobs().items():
            self.assertEqual(name, sha256(content))

    def listed(self):
        done = self.run_hearth("list", "--json")
        self.assertEqual(done.returncode, EXIT_OK, done)
        return re.findall(r'"name":"([^"]*)"', done.stdout.decode())

    def assert_here(self, *contents):
        self.assert_blobs_are_whole()
        self.assertEqual(set(self.blobs()), set(map(sha256, contents)))
        self.assertEqual([path.name for path in (self.store / "partial").iterdir()], [])


class Selection(PullTest):
    def test_a_quantization_in_any_case_brings_its_file_alone(self):
        text = self.pull("org/tiny-GGUF:q4_k_m")
        self.assertIn("hearth serve org/tiny-GGUF:Q4_K_M", text)
        self.assertIn(COMMIT[:12], text)
        self.assert_here(self.model)
        self.assertEqual(self.listed(), ["org/tiny-GGUF:Q4_K_M"])

    def test_a_second_pull_asks_once_and_a_pinned_one_not_at_all(self):
        self.pull()
        self.hub.clear_log()
        self.assertIn("up to date", self.pull())
        self.assertEqual(self.hub.paths(), ["/api/models/org/tiny-GGUF/revision/main"])
        self.pull(f"org/tiny-GGUF:Q4_K_M@{COMMIT}")
        self.hub.clear_log()
        self.assertIn("up to date", self.pull(f"org/tiny-GGUF:Q4_K_M@{COMMIT}"))
        self.assertEqual(self.hub.paths(), [])

    def test_a_new_commit_brings_what_changed(self):
        self.pull()
        changed = random_file(20)
        self.hub.add("org/tiny-GGUF", {"tiny.Q4_K_M.gguf": changed})
        self.hub.commit = "f" * 40
        self.assertIn("is here", self.pull())
        self.assertIn(sha256(changed), self.blobs())
        self.assertEqual(self.listed(), ["org/tiny-GGUF:Q4_K_M"])

    def test_all_parts_of_a_split_file_come(self):
        self.pull("org/tiny-GGUF:Q8_0")
        self.assert_here(random_file(4), random_file(5))
        done = self.run_hearth("show", "org/tiny-GGUF:Q8_0")
        self.assertIn(SPLIT[0], done.stdout.decode())

    def test_several_choices_or_none_are_listed(self):
        text = self.pull_fails("org/tiny-GGUF")
        for choice in ["Q4_K_M", "Q4_0", "Q8_0"]:
            self.assertIn(choice, text)
        self.assertNotIn("mmproj", text)
        self.assertIn("Q4_K_M", self.pull_fails("org/tiny-GGUF:Q6_K"))
        self.assertIn("no GGUF", self.pull_fails("org/tiny:Q6_K"))

    def test_separate_files_come_without_formats_that_hold_code(self):
        self.pull("org/tiny")
        files = self.hub.repositories["org/tiny"]
        self.assert_here(*(files[name] for name in files if name.endswith(".json")),
                         random_file(6), random_file(7))
        done = self.run_hearth("show", "org/tiny", "--json")
        folder = self.store / "snapshots"
        (snapshot,) = folder.iterdir()
        self.assertIn(str(snapshot), done.stdout.decode())
        self.assertEqual((snapshot / "config.json").read_bytes(), files["config.json"])

    def test_long_lists_come_in_pages(self):
        self.hub.page_size = 2
        self.pull("org/tiny")
        self.assertGreater(len([path for path in self.hub.paths() if "cursor=" in path]), 2)
        self.assertIn(sha256(random_file(7)), self.blobs())

    def test_hostile_paths_are_never_written(self):
        self.hub.add("org/hostile", {
            "../../escape.Q4_0.gguf": random_file(1), "/tmp.Q4_0.gguf": random_file(2),
            "a/../b.Q4_0.gguf": random_file(3), "x\\y.Q4_0.gguf": random_file(4),
            "n\0.Q4_0.gguf": random_file(5), "good.Q8_0.gguf": random_file(6)})
        self.pull("org/hostile")
        self.assert_here(random_file(6))
        self.assertEqual([path for path in self.folder.iterdir() if path != self.store], [])


class Names(PullTest):
    def test_what_is_no_name_is_refused_before_anything_is_asked(self):
        for name in ["../x", "org/..", "org/../x", "/etc/passwd", "org/x/y", "org/x:", "org/x@", "a" * 10000,
                     "org/-x", "org/x y", "http:/x", "org/x:../y", "org/x@a/b", ""]:
            done = self.run_hearth("pull", name)
            self.assertEqual(done.returncode, EXIT_USAGE, done)
        self.assertEqual(self.hub.paths(), [])
        self.assertFalse(self.store.exists())

    def test_an_unknown_name_is_answered_with_similar_ones(self):
        text = self.pull_fails("other/tiny")
        self.assertIn("does not exist", text)
        self.assertIn("org/tiny or org/tiny-GGUF", text.replace("org/tiny-GGUF or org/tiny", "org/tiny or org/tiny-GGUF"))

    def test_an_unknown_revision_is_named(self):
        self.assertIn("no such revision", self.pull_fails("org/tiny@v9"))
        self.pull("org/tiny@v1")
        self.assertEqual(self.listed(), ["org/tiny:latest@v1"])


class Access(PullTest):
    def test_the_token_goes_to_the_hub_alone(self):
        self.pull(HF_TOKEN="hf_secret")
        self.assertEqual(set(self.hub.headers_seen("authorization")), {"Bearer hf_secret"})
        self.assertEqual(len(self.hub.headers_seen("authorization")), len(self.hub.paths()))
        self.assertNotEqual(self.hub.content.paths(), [])
        self.assertEqual(self.hub.content.headers_seen("authorization"), [])

    def test_a_page_on_another_host_does_not_get_the_token(self):
        self.hub.once(lambda request: "/tree/" in request.path and (request.send(
            200, [], Link=f'<{self.hub.content.url}/elsewhere>; rel="next"') or True))
        self.pull_fails(HF_TOKEN="hf_secret")
        self.assertEqual(self.hub.content.paths(), ["/elsewhere"])
        self.assertEqual(self.hub.content.headers_seen("authorization"), [])

    def test_the_token_file_of_the_hubs_tools_is_read(self):
        (self.folder / "hf").mkdir()
        self.write("hf/token", "hf_from_file\n")
        self.pull()
        self.assertEqual(set(self.hub.headers_seen("authorization")), {"Bearer hf_from_file"})

    def test_no_token_crosses_a_network_unencrypted(self):
        text = self.pull_fails(HF_TOKEN="hf_secret", HF_ENDPOINT="http://hub.invalid")
        self.assertIn("unencrypted", text)
        self.assertNotIn("hf_secret", text)

    def test_closed_doors_say_what_to_do(self):
        def answer(status, **headers):
            def fault(request):
                request.send(status, {"error": "Access is restricted"}, **headers)
                return True
            self.hub.faults = [fault]
        answer(403, X_Error_Code="GatedRepo")
        text = self.pull_fails()
        self.assertIn("accept its conditions", text)
        self.assertIn("Access is restricted", text)
        self.assertIn("HF_TOKEN", text)
        answer(401)
        self.assertIn("set HF_TOKEN", self.pull_fails())
        self.assertIn("refuses the token", self.pull_fails(HF_TOKEN="hf_secret"))

    def test_a_proxy_is_used(self):
        prefix = "http://hub.invalid"
        def proxy(request):
            if request.path.startswith(prefix):
                request.path = request.path.removeprefix(prefix)
            return False
        self.hub.faults = [proxy]
        self.pull("org/tiny-GGUF:Q4_K_M", f"--hub={prefix}", http_proxy=self.hub.url,
                  no_proxy="127.0.0.1")
        self.assertTrue(self.hub.paths()[0].startswith(prefix))
        self.assert_here(self.model)


class Encryption(PullTest):
    """A hub with a certificate that no system knows, as a company's mirror has."""

    def setUp(self):
        super().setUp()
        self.hub.close()
        self.certificate = self.make_certificate("IP:127.0.0.1")
        self.serve_with(self.certificate)

    def make_certificate(self, name):
        certificate = self.folder / f"{len(list(self.folder.iterdir()))}.pem"
        key = certificate.with_suffix(".key")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                        "-nodes", "-subj", "/CN=mirror", "-addext", f"subjectAltName={name}",
                        "-out", certificate, "-keyout", key], check=True, capture_output=True)
        return certificate, key

    def serve_with(self, certificate):
        self.hub = FakeHub(certificate)
        self.addCleanup(self.hub.close)
        self.hub.add("org/tiny-GGUF", {"tiny.Q4_K_M.gguf": self.model})

    def test_an_authority_of_ones_own_is_believed_when_named(self):
        for variable in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]:
            self.hub.clear_log()
            self.pull(HF_TOKEN="hf_secret", **{variable: str(self.certificate[0])})
        # The content lies elsewhere: the token stays with the hub.
        self.assertIn("Bearer hf_secret", self.hub.headers_seen("authorization"))
        self.assertEqual(self.hub.content.headers_seen("authorization"), [])
        self.assertEqual(list(self.blobs()), [sha256(self.model)])

    def test_an_unknown_authority_is_refused_at_once_and_sees_no_request(self):
        text = self.pull_fails(HF_TOKEN="hf_secret")
        self.assertIn("certificate", text)
        self.assertEqual(self.hub.log, [])

    def test_a_certificate_of_another_name_is_refused(self):
        other = self.make_certificate("DNS:mirror.invalid")
        self.serve_with(other)
        self.assertIn("127.0.0.1", self.pull_fails(SSL_CERT_FILE=str(other[0])))
        self.assertEqual(self.hub.log, [])

    def test_a_missing_file_of_authorities_is_named(self):
        self.assertIn("/nowhere.pem", self.pull_fails(SSL_CERT_FILE="/nowhere.pem"))


class Offline(PullTest):
    def test_nothing_connects(self):
        for variables in [{"HF_HUB_OFFLINE": "1"}, {"HEARTH_OFFLINE": "true"}]:
            text = self.pull_fails(**variables)
            self.assertIn("offline", text)
        self.pull_fails("org/tiny-GGUF:Q4_K_M", "--offline", HF_TOKEN="hf_secret")
        self.pull_fails(f"{self.hub.url}/x.gguf", "--offline")
        self.assertEqual(self.hub.paths(), [])
        self.pull()
        self.hub.clear_log()
        self.assertIn("is here", self.pull("org/tiny-GGUF:Q4_K_M", "--offline"))
        self.assertEqual(self.hub.paths(), [])


class Trouble(PullTest):
    """Faults of the network and of servers."""

    def test_a_cut_connection_goes_on_where_it_was(self):
        self.hub.content.once(lambda request: request.cut(self.model, 1000) or True)
        self.pull("org/tiny-GGUF:Q4_K_M", "--connections=1")
        self.assertEqual(self.hub.ranges("tiny.Q4_K_M")[:2], ["0-4095", "1000-4095"])
        self.assert_here(self.model)

    def test_what_may_pass_is_tried_again(self):
        for status in [429, 500, 503, 408]:
            self.hub.once(lambda request, status=status: request.send(status, Retry_After=0) or True)
            self.hub.content.once(lambda request, status=status: request.send(status) or True)
        self.pull()
        self.assert_here(self.model)

    def test_it_gives_up_after_so_many_attempts(self):
        self.hub.faults = [lambda request: request.send(500) or True]
        text = self.pull_fails("org/tiny-GGUF:Q4_K_M", "--attempts=3")
        self.assertIn("gave up after 3 attempts", text)
        self.assertEqual(len(self.hub.paths()), 3)

    def test_a_long_ban_is_told_instead_of_waited_for(self):
        self.hub.faults = [lambda request: request.send(429, Retry_After=100000) or True]
        self.assertIn("100000 s", self.pull_fails())
        self.assertEqual(len(self.hub.paths()), 1)

    def test_a_wrong_checksum_is_thrown_away(self):
        wrong = bytearray(self.model)
        wrong[5000] ^= 1
        self.hub.content.contents[sha256(self.model)] = bytes(wrong)
        self.assertIn("sha256", self.pull_fails())
        self.assertEqual((self.blobs(), self.listed()), ({}, []))
        self.hub.content.contents[sha256(self.model)] = self.model
        self.pull()
        self.assert_here(self.model)

    def test_a_wrong_checksum_of_a_small_file_is_thrown_away(self):
        self.hub.once(lambda request: "/config.json" in request.path and (
            request.send_content(b'{"model_type": "lLama"}') or True))
        self.assertIn("'config.json' arrived with the git checksum", self.pull_fails("org/tiny"))
        self.assertEqual(self.listed(), [])
        self.pull("org/tiny")

    def test_a_wrong_size_is_refused(self):
        longer = self.model + b"more"
        self.hub.content.contents[sha256(self.model)] = longer
        self.assertIn(f"{len(longer)} bytes on the server instead of {len(self.model)}",
                      self.pull_fails())

    def test_a_change_between_list_and_download_is_noticed(self):
        for headers in [{"X_Linked_Etag": f'"{"0" * 64}"'}, {"X_Linked_Size": 5},
                        {"X_Repo_Commit": "e" * 40}]:
            def fault(request, headers=headers):
                if "/resolve/" not in request.path:
                    return False
                request.send(302, Location=f"{self.hub.content.url}/{sha256(self.model)}", **headers)
                return True
            self.hub.faults = [fault]
            self.pull_fails()
        self.assertEqual(self.blobs(), {})

    def test_a_loop_of_redirects_ends(self):
        self.hub.faults = [lambda request: "/resolve/" in request.path and (
            request.send(302, Location=request.path) or True)]
        self.assertIn("redirects more than 10 times",
                      self.pull_fails("org/tiny-GGUF:Q4_K_M", "--connections=1"))
        self.assertEqual(len([path for path in self.hub.paths() if "/resolve/" in path]), 11)

    def test_a_redirect_to_another_kind_of_address_is_refused(self):
        for target in ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x"]:
            self.hub.faults = [lambda request, target=target: "/resolve/" in request.path and (
                request.send(302, Location=target) or True)]
            self.assertIn("http", self.pull_fails())

    def test_a_server_without_ranges_sends_the_whole(self):
        self.hub.content.faults = [lambda request: request.send(200, self.model) or True]
        self.pull()
        self.assert_here(self.model)
        self.assertEqual(self.hub.content.log[-1][1].get("range"), None)

    def test_a_file_that_changes_between_its_parts_is_begun_anew(self):
        served = []
        def fault(request):
            served.append(request.headers["Range"])
            request.send_content(self.model, ETag='"old"' if len(served) <= 3 else '"new"')
            return True
        self.hub.content.faults = [fault]
        self.pull("org/tiny-GGUF:Q4_K_M", "--connections=1")
        self.assertEqual(served.count("bytes=0-4095"), 2)
        self.assert_here(self.model)

    def test_a_file_that_never_stays_the_same_is_given_up(self):
        served = []
        def fault(request):
            served.append(1)
            request.send_content(self.model, ETag=f'"{len(served)}"')
            return True
        self.hub.content.faults = [fault]
        self.assertIn("again and again", self.pull_fails("org/tiny-GGUF:Q4_K_M", "--connections=1"))

    def test_malformed_answers_are_named(self):
        for body in [b"", b"nonsense", b"{}", b'[{"type": "file", "path": "a.gguf", "size": -1}]', b"[1]",
                     b'{"sha": "../.."}']:
            self.hub.faults = [lambda request, body=body: request.send(200, body) or True]
            self.pull_fails()

    def test_no_room_is_told_before_anything_is_fetched(self):
        entry = {"type": "file", "path": "x.Q4_0.gguf", "size": 1 << 49, "oid": "0" * 40,
                 "lfs": {"oid": "0" * 64, "size": 1 << 49}}
        self.hub.faults = [lambda request: "/tree/" in request.path and (
            request.send(200, [entry]) or True)]
        self.assertIn("bytes free", self.pull_fails("org/tiny-GGUF"))
        self.assertEqual(self.hub.content.paths(), [])


class Crashes(PullTest):
    def failpoints(self):
        done = self.run_hearth("pull", "org/tiny-GGUF", "--failpoint=none")
        return done.stderr.decode().strip().rsplit(": ", 1)[1].split(", ")

    def fresh_store(self, name):
        self.store = self.folder / name
        self.hub.content.clear_log()

    def test_every_step_may_be_the_last(self):
        points = self.failpoints()
        self.assertGreater(len(points), 10)
        for point in points:
            with self.subTest(point=point):
                self.fresh_store(point)
                done = self.run_hearth("pull", "org/tiny-GGUF:Q8_0", f"--failpoint={point}")
                self.assertEqual(done.returncode, -signal.SIGKILL, done)
                self.assert_blobs_are_whole()
                self.assertEqual(self.listed(), ["org/tiny-GGUF:Q8_0"] if point == "manifest-done" else [])
                self.pull("org/tiny-GGUF:Q8_0")
                self.assert_here(random_file(4), random_file(5))
                self.assertEqual(self.run_hearth("verify").returncode, EXIT_OK)
                # What was left behind by the process that died is found and goes.
                self.assertEqual(self.run_hearth("gc").returncode, EXIT_OK)
                self.assert_here(random_file(4), random_file(5))
                self.assertEqual(self.listed(), ["org/tiny-GGUF:Q8_0"])

    def test_a_full_disk_at_every_step_is_told_and_survived(self):
        for point in self.failpoints():
            with self.subTest(point=point):
                self.fresh_store(point)
                self.assertIn("No space left",
                              self.pull_fails("org/tiny-GGUF:Q8_0", f"--failpoint={point}=full"))
                self.pull("org/tiny-GGUF:Q8_0")
                self.assert_here(random_file(4), random_file(5))

    def test_parts_that_were_complete_are_not_fetched_again(self):
        done = self.run_hearth("pull", "org/tiny-GGUF:Q4_K_M", "--connections=1",
                               "--failpoint=part-journal@4")
        self.assertEqual(done.returncode, -signal.SIGKILL, done)
        self.hub.clear_log()
        self.pull("org/tiny-GGUF:Q4_K_M", "--connections=1")
        self.assertEqual(self.hub.ranges("tiny.Q4_K_M")[0], "12288-16383")
        self.assertEqual(len(self.hub.ranges("tiny.Q4_K_M")), 7)
        self.assert_here(self.model)

    def test_a_part_that_rotted_meanwhile_is_fetched_again(self):
        self.run_hearth("pull", "org/tiny-GGUF:Q4_K_M", "--connections=1", "--failpoint=blob-verify")
        partial = self.store / "partial" / sha256(self.model)
        with open(partial, "r+b") as file:
            file.seek(5000)
            file.write(b"rot")
        self.hub.clear_log()
        self.pull("org/tiny-GGUF:Q4_K_M")
        self.assertEqual(self.hub.ranges("tiny.Q4_K_M"), ["4096-8191"])
        self.assert_here(self.model)

    def test_a_torn_journal_is_read_as_far_as_it_goes(self):
        self.run_hearth("pull", "org/tiny-GGUF:Q4_K_M", "--connections=1", "--failpoint=blob-verify")
        journal = self.store / "partial" / (sha256(self.model) + ".parts")
        whole = journal.read_bytes()
        for length in [0, 5, len(whole) // 2, len(whole) - 1]:
            journal.write_bytes(whole[:length])
            done = self.run_hearth("pull", "org/tiny-GGUF:Q4_K_M", "--failpoint=blob-verify")
            self.assertEqual(done.returncode, -signal.SIGKILL, done)
        journal.write_bytes(b"\xff\0garbage\n" + whole)
        self.pull()
        self.assert_here(self.model)


class Company(PullTest):
    """Several processes, and a user who interrupts."""

    def start(self, *arguments):
        process = subprocess.Popen([BINARY, *arguments], env=clean_environment(**self.environment()),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def hold_part(self, begin):
        """(arrived, go): the request for the part at `begin` arrives and waits."""
        arrived, go = threading.Event(), threading.Event()
        self.addCleanup(go.set)
        def fault(request):
            if request.headers.get("Range", "").startswith(f"bytes={begin}-"):
                arrived.set()
                go.wait(DEADLINE_SECONDS)
            return False
        self.hub.content.faults = [fault]
        return arrived, go

    def test_two_pulls_of_one_model_share_the_work(self):
        arrived, go = self.hold_part(8192)
        first = self.start("pull", "org/tiny-GGUF:Q4_K_M")
        self.assertTrue(arrived.wait(DEADLINE_SECONDS))
        second = self.start("pull", "org/tiny-GGUF:Q4_K_M")
        self.assertIn("another process", second.stderr.readline())
        go.set()
        for process in [first, second]:
            process.communicate(timeout=DEADLINE_SECONDS)
            self.assertEqual(process.returncode, EXIT_OK)
        ranges = self.hub.ranges("tiny.Q4_K_M")
        self.assertEqual(len(ranges), len(set(ranges)))
        self.assert_here(self.model)

    def test_ctrl_c_leaves_what_can_be_resumed(self):
        arrived, go = self.hold_part(8192)
        process = self.start("pull", "org/tiny-GGUF:Q4_K_M", "--connections=1")
        self.assertTrue(arrived.wait(DEADLINE_SECONDS))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=DEADLINE_SECONDS)
        self.assertEqual(process.returncode, EXIT_FAILURE)
        self.assertIn("goes on where this one stopped", errors)
        go.set()
        self.hub.clear_log()
        self.pull()
        self.assertEqual(len(self.hub.ranges("tiny.Q4_K_M")), 8)
        self.assert_here(self.model)

    def test_gc_leaves_a_running_pull_alone(self):
        self.pull("org/tiny-GGUF:Q4_0")
        arrived, go = self.hold_part(8192)
        process = self.start("pull", "org/tiny-GGUF:Q4_K_M")
        self.assertTrue(arrived.wait(DEADLINE_SECONDS))
        done = self.run_hearth("gc")
        self.assertEqual(done.returncode, EXIT_FAILURE)
        self.assertIn(b"another process", done.stderr)
        self.assertIn(b"partial/", self.run_hearth("gc", "--dry-run").stdout)
        self.assertIn(b"hearth gc", self.run_hearth("rm", "org/tiny-GGUF:Q4_0").stdout)
        go.set()
        process.communicate(timeout=DEADLINE_SECONDS)
        self.assertEqual(process.returncode, EXIT_OK)
        self.assertEqual(self.run_hearth("gc").returncode, EXIT_OK)
        self.assert_here(self.model)


class Addresses(PullTest):
    """A file by its address instead of a name on the hub."""

    def url(self):
        return f"{self.hub.url}/files/tiny.Q4_K_M.gguf"

    def setUp(self):
        super().setUp()
        self.hub.faults = [lambda request: request.path.startswith("/files/") and (
            request.send_content(self.model) or True)]

    def test_a_file_is_listed_by_its_name(self):
        self.pull(self.url(), f"--sha256={sha256(self.model)}", HF_TOKEN="hf_secret")
        self.assertEqual(self.listed(), ["tiny:Q4_K_M"])
        self.assert_here(self.model)
        self.assertEqual(self.hub.headers_seen("authorization"), [])
        self.hub.clear_log()
        self.assertIn("up to date", self.pull(self.url(), f"--sha256={sha256(self.model)}"))
        self.assertEqual(self.hub.paths(), [])

    def test_a_file_without_a_checksum_is_taken_as_it_comes(self):
        self.pull(self.url(), "--name=mine/this:one")
        self.assertEqual(self.listed(), ["mine/this:one"])
        self.assert_here(self.model)

    def test_another_file_than_promised_is_refused(self):
        self.assertIn("sha256", self.pull_fails(self.url(), f"--sha256={'0' * 64}"))
        self.assertEqual((self.blobs(), self.listed()), ({}, []))

    def test_what_is_no_model_file_is_refused(self):
        self.assertIn(".gguf", self.pull_fails(f"{self.hub.url}/files/tiny.bin", "--name=x"))


if __name__ == "__main__":
    unittest.main()
