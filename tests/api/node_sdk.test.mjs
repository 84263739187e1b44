// The official Node SDK against the real server and model; run_node_sdk.py sets OPENAI_BASE_URL
// and, of a server with an encoder, ENCODER_BASE_URL.
import assert from "node:assert/strict";
import test from "node:test";

import OpenAI from "openai";

const client = new OpenAI({apiKey: "none", maxRetries: 0});
const model = (await client.models.list()).data[0].id;
const request = {
  model,
  messages: [{role: "user", content: "What is the capital of France?"}],
  temperature: 0,
  max_completion_tokens: 12,
};

test("chat", async () => {
  const answer = await client.chat.completions.create(request);
  assert.ok(answer.choices[0].message.content.length > 0);
  assert.equal(answer.usage.total_tokens,
    answer.usage.prompt_tokens + answer.usage.completion_tokens);
});

test("the stream is the answer in pieces", async () => {
  const whole = await client.chat.completions.create(request);
  const stream = await client.chat.completions.create(
    {...request, stream: true, stream_options: {include_usage: true}});
  let text = "", usage = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(usage.completion_tokens, whole.usage.completion_tokens);
});

test("the stream helper finishes every choice", async () => {
  const final = await client.chat.completions.stream({...request, n: 2}).finalChatCompletion();
  assert.equal(final.choices.length, 2);
  for (const choice of final.choices) {
    assert.equal(choice.message.role, "assistant");
    assert.match(choice.finish_reason, /^(stop|length)$/);
  }
});

test("completions with logprobs", async () => {
  const answer = await client.completions.create(
    {model, prompt: "One two", max_tokens: 3, logprobs: 2, temperature: 0});
  assert.equal(answer.choices[0].logprobs.tokens.join(""), answer.choices[0].text);
});

test("errors carry code and param", async () => {
  await assert.rejects(client.chat.completions.create({...request, temperature: 3}), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.code, "value_out_of_range");
    assert.equal(error.param, "temperature");
    assert.ok(error.requestID);
    return true;
  });
});

test("an aborted stream ends at once", async () => {
  const stream = await client.chat.completions.create(
    {...request, stream: true, max_completion_tokens: 450, ignore_eos: true});
  let chunks = 0;
  for await (const chunk of stream) {
    chunks += chunk.choices.length;
    stream.controller.abort();
  }
  assert.ok(chunks < 450);
});

test("vectors arrive whole", async () => {
  const encoder = new OpenAI({apiKey: "none", maxRetries: 0,
    baseURL: process.env.ENCODER_BASE_URL});
  const texts = {model: "bert-mean", input: ["the words", "it"]};
  const packed = await encoder.embeddings.create(texts);  // It asks for base64 and decodes that.
  const plain = await encoder.embeddings.create({...texts, encoding_format: "float"});
  assert.deepEqual(packed.data.map((item) => item.index), [0, 1]);
  packed.data.forEach((item, i) => {
    assert.equal(item.embedding.length, 32);
    item.embedding.forEach((value, k) =>
      assert.ok(Math.abs(value - plain.data[i].embedding[k]) < 1e-6));
  });
  assert.equal(packed.usage.total_tokens, plain.usage.total_tokens);
});
