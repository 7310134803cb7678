// The AI SDK, through its OpenAI and OpenAI-compatible providers, unchanged, against a real server.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import {
  APICallError,
  embed,
  embedMany,
  generateObject,
  generateText,
  Output,
  stepCountIs,
  streamObject,
  streamText,
  tool,
} from "ai";
import { z } from "zod";

import { ANSWER, collect, demo, keyed, QUESTION, WEATHER_QUESTION } from "./common.mjs";

const openai = createOpenAI({ baseURL: demo, apiKey: "none" });
const compatible = createOpenAICompatible({
  name: "ixmodal",
  baseURL: demo,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const capital = z.object({ capital: z.enum(["Berlin", "Paris", "Rome"]), sure: z.boolean() });

for (const [api, model] of [
  ["openai, responses", openai("demo")],
  ["openai, chat", openai.chat("demo")],
  ["openai-compatible, chat", compatible("demo")],
]) {
  const ask = { model, temperature: 0, maxRetries: 0 };

  test(`${api}: generateText`, async () => {
    const answer = await generateText({ ...ask, prompt: QUESTION });
    assert.equal(answer.text, ANSWER);
    assert.equal(answer.finishReason, "stop");
    assert.ok(answer.usage.inputTokens > 3);
    assert.ok(answer.usage.outputTokens > 3);
  });

  test(`${api}: streamText`, async () => {
    const stream = streamText({ ...ask, prompt: QUESTION, onError: fail });
    assert.equal((await collect(stream.textStream)).join(""), ANSWER);
    assert.equal(await stream.finishReason, "stop");
    assert.ok((await stream.totalUsage).outputTokens > 3);
  });

  const tools = (called) => ({
    get_weather: tool({
      description: "Get the weather in a city",
      inputSchema: z.object({ city: z.string() }),
      execute: async (given) => {
        called.push(given);
        return "purple rain";
      },
    }),
  });

  test(`${api}: tools over two steps, whole`, async () => {
    const called = [];
    const fields = { ...ask, tools: tools(called), stopWhen: stepCountIs(3) };
    const answer = await generateText({ ...fields, prompt: WEATHER_QUESTION });
    assert.deepEqual(called, [{ city: "Paris" }]);
    assert.deepEqual(answer.steps.map((step) => step.finishReason), ["tool-calls", "stop"]);
    assert.match(answer.text, /purple rain/);
  });

  test(`${api}: tools over two steps, streamed`, async () => {
    const called = [];
    const fields = { ...ask, tools: tools(called), stopWhen: stepCountIs(3), onError: fail };
    const stream = streamText({ ...fields, prompt: WEATHER_QUESTION });
    const types = (await collect(stream.fullStream)).map((part) => part.type);
    for (const type of ["tool-input-start", "tool-call", "tool-result", "text-delta"]) assert.ok(types.includes(type));
    assert.deepEqual(called, [{ city: "Paris" }]);
    assert.match(await stream.text, /purple rain/);
  });

  test(`${api}: a required tool`, async () => {
    const fields = { ...ask, tools: tools([]), toolChoice: "required", maxOutputTokens: 200 };
    const answer = await generateText({ ...fields, prompt: WEATHER_QUESTION });
    assert.deepEqual(answer.toolCalls.map((call) => [call.toolName, call.input]), [["get_weather", { city: "Paris" }]]);
  });

  test(`${api}: objects, whole and streamed`, async () => {
    const { object } = await generateObject({ ...ask, schema: capital, prompt: QUESTION });
    capital.parse(object);
    const stream = streamObject({ ...ask, schema: capital, prompt: QUESTION, onError: fail });
    const partial = await collect(stream.partialObjectStream);
    assert.deepEqual(partial.at(-1), object);
    assert.deepEqual(await stream.object, object);
    const { output } = await generateText({ ...ask, output: Output.object({ schema: capital }), prompt: QUESTION });
    assert.deepEqual(output, object);
  });

  test(`${api}: history and a system prompt`, async () => {
    const answer = await generateText({
      ...ask,
      system: "You are a helpful assistant.",
      messages: [
        { role: "user", content: "My name is Anna." },
        { role: "assistant", content: "Nice to meet you, Anna." },
        { role: "user", content: [{ type: "text", text: QUESTION }] },
      ],
    });
    assert.equal(answer.text, ANSWER);
  });
}

test("text arrives as it is written", async () => {
  const model = createOpenAICompatible({ name: "ixmodal", baseURL: keyed, apiKey: "right" })("demo");
  const stream = streamText({ model, prompt: "!slow=0.05 say:abcdefgh", maxRetries: 0, onError: fail });
  const parts = await collect(stream.textStream);
  assert.ok(parts.length > 2);
  assert.equal(parts.join(""), "abcdefgh");
});

test("completions", async () => {
  for (const model of [openai.completion("demo"), compatible.completionModel("demo")]) {
    const fields = { model, temperature: 0, maxOutputTokens: 8, prompt: "Hello" };
    const { text } = await generateText(fields);
    assert.ok(text);
    assert.equal((await collect(streamText({ ...fields, onError: fail }).textStream)).join(""), text);
  }
});

test("embed and embedMany", async () => {
  for (const model of [openai.embedding("demo"), compatible.embeddingModel("demo")]) {
    const { embedding, usage } = await embed({ model, value: QUESTION });
    assert.ok(usage.tokens > 3);
    const { embeddings } = await embedMany({ model, values: [ANSWER, QUESTION] });
    assert.equal(embeddings.length, 2);
    embedding.forEach((value, i) => assert.ok(Math.abs(value - embeddings[1][i]) < 1e-4));
  }
});

test("an error keeps its status, message and whether to retry", async () => {
  const wrong = createOpenAICompatible({ name: "ixmodal", baseURL: keyed, apiKey: "wrong" });
  await assert.rejects(generateText({ model: wrong("demo"), prompt: QUESTION, maxRetries: 0 }), (error) => {
    assert.ok(APICallError.isInstance(error));
    assert.deepEqual([error.statusCode, error.isRetryable], [401, false]);
    return true;
  });
  await assert.rejects(generateText({ model: compatible("nope"), prompt: QUESTION, maxRetries: 0 }), /nope/);
});

/** Streams report errors here rather than raising them. */
function fail({ error }) {
  throw error;
}
