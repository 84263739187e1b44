"""The official Python SDK against the real server and model."""

import unittest

import openai

from sdk_server import Server, base_url, poll

MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]


class PythonSdk(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server("--max-model-len=512"))
        cls.client = cls.enterClassContext(
            openai.OpenAI(base_url=base_url(cls.server), api_key="none", max_retries=0))
        cls.model = cls.client.models.list().data[0].id

    def chat(self, **fields):
        wanted = {"model": self.model, "messages": MESSAGES, "temperature": 0,
                  "max_completion_tokens": 12} | fields
        return self.client.chat.completions.create(**wanted)

    def test_models(self):
        model = self.client.models.retrieve(self.model)
        self.assertEqual((model.id, model.object), (self.model, "model"))
        self.assertEqual(model.max_model_len, 512)
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("another")

    def test_chat(self):
        answer = self.chat()
        choice = answer.choices[0]
        self.assertEqual(choice.message.role, "assistant")
        self.assertTrue(choice.message.content)
        self.assertIn(choice.finish_reason, ("stop", "length"))
        self.assertEqual(answer.usage.total_tokens,
                         answer.usage.prompt_tokens + answer.usage.completion_tokens)
        self.assertTrue(answer.system_fingerprint)
        self.assertTrue(answer._request_id)

    def test_the_stream_is_the_answer_in_pieces(self):
        whole = self.chat()
        text, chunks = "", list(self.chat(stream=True, stream_options={"include_usage": True}))
        for chunk in chunks[:-1]:
            text += chunk.choices[0].delta.content or ""
            self.assertIsNone(chunk.usage)
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage.completion_tokens, whole.usage.completion_tokens)
        self.assertEqual(chunks[-2].choices[0].finish_reason, whole.choices[0].finish_reason)

    def test_the_stream_helper_accumulates_two_choices(self):
        # The helper raises when an answer is cut at its length, so these end by themselves.
        fields = {"n": 2, "temperature": 1, "seed": 7, "stop": ["e"], "max_completion_tokens": 100}
        whole = self.chat(**fields)
        with self.client.chat.completions.stream(
                model=self.model, messages=MESSAGES, **fields) as stream:
            final = stream.get_final_completion()
        self.assertEqual([choice.message.content for choice in final.choices],
                         [choice.message.content for choice in whole.choices])
        self.assertEqual([choice.message.role for choice in final.choices], ["assistant"] * 2)

    def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(self):
        text = self.chat().choices[0].message.content
        stop = text[len(text) // 2:][:3]
        answer = self.chat(stop=[stop])
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        self.assertEqual(answer.choices[0].message.content, text[:text.index(stop)])

    def test_chat_logprobs(self):
        answer = self.chat(logprobs=True, top_logprobs=3)
        content = answer.choices[0].logprobs.content
        self.assertEqual(b"".join(bytes(token.bytes) for token in content).decode(),
                         answer.choices[0].message.content)
        for token in content:
            self.assertEqual(len(token.top_logprobs), 3)
            self.assertAlmostEqual(token.logprob, token.top_logprobs[0].logprob)

    def test_completions_with_echo_and_logprobs(self):
        answer = self.client.completions.create(
            model=self.model, prompt=["One two three", "Four"], echo=True, logprobs=2, max_tokens=3,
            temperature=0)
        self.assertEqual([choice.index for choice in answer.choices], [0, 1])
        for choice, prompt in zip(answer.choices, ["One two three", "Four"]):
            self.assertTrue(choice.text.startswith(prompt))
            scores = choice.logprobs
            self.assertIsNone(scores.token_logprobs[0])
            self.assertEqual("".join(scores.tokens), choice.text)
            self.assertEqual(len(scores.tokens), len(scores.text_offset))
            for token, offset in zip(scores.tokens, scores.text_offset):
                self.assertEqual(choice.text[offset:offset + len(token)], token)

    def test_a_prompt_scores_the_same_as_text_and_as_ids(self):
        def scores(prompt):
            answer = self.client.completions.create(
                model=self.model, prompt=prompt, echo=True, logprobs=1, max_tokens=1, temperature=0)
            return answer.choices[0].logprobs.token_logprobs

        ids = self.client.post("../tokenize", body={"prompt": "One two three"}, cast_to=object)
        self.assertEqual(scores("One two three"), scores(ids["tokens"]))

    def test_errors_have_type_code_and_param(self):
        with self.assertRaises(openai.BadRequestError) as refused:
            self.chat(temperature=3)
        self.assertEqual((refused.exception.code, refused.exception.param),
                         ("value_out_of_range", "temperature"))
        with self.assertRaises(openai.BadRequestError) as long:
            self.chat(messages=[{"role": "user", "content": "word " * 600}])
        self.assertEqual(long.exception.code, "context_length_exceeded")
        with self.assertRaises(openai.NotFoundError) as missing:
            self.chat(model="another")
        self.assertEqual(missing.exception.code, "model_not_found")

    def test_leaving_a_stream_frees_the_engine(self):
        cancelled = self.finished_metric()
        before = self.server.metric(cancelled)
        stream = self.chat(stream=True, max_completion_tokens=450, extra_body={"ignore_eos": True})
        next(iter(stream))
        stream.close()
        poll(lambda: self.server.metric(cancelled) == before + 1)
        poll(lambda: self.server.metric("hearth_num_requests_running") == 0)

    def finished_metric(self):
        for line in self.server.request("GET", "/metrics")[1].splitlines():
            if 'finished_reason="cancelled"' in line:
                return line.rsplit(" ", 1)[0]
        raise AssertionError("no metric counts cancelled requests")


if __name__ == "__main__":
    unittest.main(verbosity=2)
