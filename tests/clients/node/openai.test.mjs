// The official `openai` package, unchanged, against a real server.

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI, {
  APIUserAbortError,
  AuthenticationError,
  BadRequestError,
  NotFoundError,
  RateLimitError,
} from "openai";
import { LengthFinishReasonError } from "openai/error";
import { zodFunction, zodResponseFormat, zodResponsesFunction, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

import { ANSWER, collect, demo, keyed, QUESTION, WEATHER_QUESTION } from "./common.mjs";

const client = new OpenAI({ baseURL: demo, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: QUESTION }];
const ask = { model: "demo", messages, temperature: 0 };
const Capital = z.object({ capital: z.enum(["Berlin", "Paris", "Rome"]), sure: z.boolean() });
const Weather = z.object({ city: z.string() });

test("chat, whole", async () => {
  const { data, response, request_id } = await client.chat.completions.create(ask).withResponse();
  assert.equal(data.choices[0].message.content, ANSWER);
  assert.equal(data.choices[0].finish_reason, "stop");
  assert.equal(data.usage.total_tokens, data.usage.prompt_tokens + data.usage.completion_tokens);
  assert.equal(response.status, 200);
  assert.ok(request_id);
  assert.equal(data._request_id, request_id);
});

test("chat, streamed", async () => {
  const stream = await client.chat.completions.create({
    ...ask,
    stream: true,
    stream_options: { include_usage: true },
  });
  const chunks = await collect(stream);
  assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""), ANSWER);
  assert.deepEqual(
    chunks.filter((chunk) => chunk.choices[0]?.finish_reason).map((chunk) => chunk.choices[0].finish_reason),
    ["stop"],
  );
  assert.ok(chunks.at(-1).usage.completion_tokens > 3);
});

test("chat, the stream helper and its events", async () => {
  const stream = client.chat.completions.stream(ask);
  const deltas = [];
  stream.on("content", (delta) => deltas.push(delta));
  const final = await stream.finalChatCompletion();
  assert.equal(deltas.join(""), ANSWER);
  assert.equal(final.choices[0].message.content, ANSWER);
  assert.equal(await stream.finalContent(), ANSWER);
});

test("chat, n choices with log-probabilities", async () => {
  const whole = await client.chat.completions.create({ ...ask, n: 2, logprobs: true, top_logprobs: 2 });
  assert.deepEqual(whole.choices.map((choice) => choice.index), [0, 1]);
  for (const choice of whole.choices) {
    assert.equal(choice.logprobs.content.map((entry) => entry.token).join(""), ANSWER);
    assert.equal(choice.logprobs.content[0].top_logprobs.length, 2);
  }
  const streamed = await client.chat.completions.stream({ ...ask, n: 2, logprobs: true, top_logprobs: 2 })
    .finalChatCompletion();
  assert.deepEqual(streamed.choices.map((choice) => choice.message.content), [ANSWER, ANSWER]);
  assert.equal(streamed.choices[1].logprobs.content.map((entry) => entry.token).join(""), ANSWER);
});

for (const [how, run] of [
  ["whole", (fields) => client.chat.completions.runTools(fields)],
  ["streamed", (fields) => client.chat.completions.runTools({ ...fields, stream: true, stream_options: { include_usage: true } })],
]) {
  test(`chat, runTools calls a function and hands its result back, ${how}`, async () => {
    const called = [];
    const runner = run({
      model: "demo",
      messages: [{ role: "user", content: WEATHER_QUESTION }],
      temperature: 0,
      tools: [
        zodFunction({
          name: "get_weather",
          description: "Get the weather in a city",
          parameters: Weather,
          function: (given) => {
            called.push(given);
            return "purple rain";
          },
        }),
      ],
    });
    assert.match(await runner.finalContent(), /purple rain/);
    assert.deepEqual(called, [{ city: "Paris" }]);
    assert.deepEqual(runner.messages.map((message) => message.role), ["user", "assistant", "tool", "assistant"]);
    assert.ok((await runner.totalUsage()).total_tokens > 0);
  });
}

test("chat, parse into a zod object", async () => {
  const format = zodResponseFormat(Capital, "capital");
  const parsed = await client.chat.completions.parse({ ...ask, response_format: format });
  assert.deepEqual(Object.keys(parsed.choices[0].message.parsed), ["capital", "sure"]);
  Capital.parse(parsed.choices[0].message.parsed);
  const streamed = await client.chat.completions.stream({ ...ask, response_format: format }).finalChatCompletion();
  assert.deepEqual(streamed.choices[0].message.parsed, parsed.choices[0].message.parsed);
  await assert.rejects(
    client.chat.completions.parse({ ...ask, response_format: format, max_tokens: 2 }),
    LengthFinishReasonError,
  );
});

test("chat, parse the arguments of a forced call", async () => {
  const tool = zodFunction({ name: "get_weather", parameters: z.object({ city: z.enum(["Paris", "Rome"]) }) });
  const parsed = await client.chat.completions.parse({ ...ask, tools: [tool], tool_choice: "required" });
  assert.equal(parsed.choices[0].finish_reason, "tool_calls");
  assert.ok(["Paris", "Rome"].includes(parsed.choices[0].message.tool_calls[0].function.parsed_arguments.city));
});

test("completions, whole and streamed", async () => {
  const fields = { model: "demo", prompt: ["The capital of France", "Hello"], temperature: 0, max_tokens: 8 };
  const whole = await client.completions.create(fields);
  assert.deepEqual(whole.choices.map((choice) => choice.index), [0, 1]);
  const texts = ["", ""];
  for await (const chunk of await client.completions.create({ ...fields, stream: true })) {
    texts[chunk.choices[0].index] += chunk.choices[0].text;
  }
  assert.deepEqual(texts, whole.choices.map((choice) => choice.text));
});

test("embeddings, base64 by default and floats on request", async () => {
  const input = ["The capital of France is Paris.", "Hello"];
  const { data } = await client.embeddings.create({ model: "demo", input });
  const floats = await client.embeddings.create({ model: "demo", input, encoding_format: "float" });
  assert.equal(data.length, 2);
  for (const [i, { embedding }] of data.entries()) {
    assert.ok(Math.abs(Math.hypot(...embedding) - 1) < 1e-4);
    embedding.forEach((value, j) => assert.ok(Math.abs(value - floats.data[i].embedding[j]) < 1e-6));
  }
});

test("models", async () => {
  assert.deepEqual((await collect(client.models.list())).map((model) => model.id), ["demo"]);
  assert.equal((await client.models.retrieve("demo")).owned_by, "ixmodal");
  await assert.rejects(client.models.retrieve("nope"), NotFoundError);
});

test("responses, whole, chained, kept and deleted", async () => {
  const first = await client.responses.create({ model: "demo", input: "My name is Anna.", temperature: 0 });
  assert.equal(first.status, "completed");
  assert.ok(first.output_text);
  const second = await client.responses.create({
    model: "demo",
    input: QUESTION,
    previous_response_id: first.id,
    temperature: 0,
  });
  assert.equal(second.output_text, ANSWER);
  assert.equal((await client.responses.retrieve(second.id)).output_text, ANSWER);
  const items = await collect(client.responses.inputItems.list(second.id));
  assert.equal(items[0].content[0].text, QUESTION);
  await client.responses.delete(second.id);
  await assert.rejects(client.responses.retrieve(second.id), NotFoundError);
});

test("responses, streamed, and the stream helper", async () => {
  const ask = { model: "demo", input: QUESTION, temperature: 0 };
  const events = await collect(await client.responses.create({ ...ask, stream: true }));
  assert.deepEqual([events[0].type, events.at(-1).type], ["response.created", "response.completed"]);
  assert.deepEqual(events.map((event) => event.sequence_number), [...events.keys()]);
  const stream = client.responses.stream(ask);
  const deltas = [];
  stream.on("response.output_text.delta", (event) => deltas.push(event.delta));
  const final = await stream.finalResponse();
  assert.equal(deltas.join(""), ANSWER);
  assert.equal(final.output_text, ANSWER);
});

test("responses, parse and tools", async () => {
  const parsed = await client.responses.parse({
    model: "demo",
    input: QUESTION,
    temperature: 0,
    text: { format: zodTextFormat(Capital, "capital") },
  });
  Capital.parse(parsed.output_parsed);
  const tools = [zodResponsesFunction({ name: "get_weather", parameters: Weather })];
  const asked = await client.responses.parse({ model: "demo", input: WEATHER_QUESTION, temperature: 0, tools });
  const [call] = asked.output;
  assert.deepEqual(call.parsed_arguments, { city: "Paris" });
  const answered = await client.responses.create({
    model: "demo",
    previous_response_id: asked.id,
    input: [{ type: "function_call_output", call_id: call.call_id, output: "purple rain" }],
    temperature: 0,
    tools,
  });
  assert.match(answered.output_text, /purple rain/);
});

test("conversations", async () => {
  const conversation = await client.conversations.create({ metadata: { of: "tests" } });
  const said = { model: "demo", conversation: conversation.id, temperature: 0 };
  await client.responses.create({ ...said, input: "My name is Anna." });
  assert.equal((await client.responses.create({ ...said, input: QUESTION })).output_text, ANSWER);
  const items = await collect(client.conversations.items.list(conversation.id, { order: "asc" }));
  assert.deepEqual(items.map((item) => item.role), ["user", "assistant", "user", "assistant"]);
  assert.ok((await client.conversations.delete(conversation.id)).deleted);
});

test("what is wrong raises the class for it, with the field's name", async () => {
  await assert.rejects(client.chat.completions.create({ ...ask, temperature: 3 }), (error) => {
    assert.ok(error instanceof BadRequestError);
    assert.deepEqual([error.status, error.param, error.type], [400, "temperature", "invalid_request_error"]);
    assert.ok(error.requestID);
    return true;
  });
  await assert.rejects(client.chat.completions.create({ ...ask, model: "nope" }), (error) => {
    assert.ok(error instanceof NotFoundError);
    assert.equal(error.code, "model_not_found");
    return true;
  });
  const wrong = new OpenAI({ baseURL: keyed, apiKey: "wrong", maxRetries: 0 });
  await assert.rejects(wrong.models.list(), AuthenticationError);
});

test("a busy server raises RateLimitError; an aborted stream makes it free again", async () => {
  const client = new OpenAI({ baseURL: keyed, apiKey: "right", maxRetries: 0 });
  const say = (content, fields) => ({ model: "demo", messages: [{ role: "user", content }], ...fields });
  const stream = await client.chat.completions.create(say("!slow=0.02 !forever say:on", { stream: true }));
  for await (const chunk of stream) if (chunk.choices[0].delta.content) break; // breaking off aborts the request
  const controller = new AbortController();
  const running = await retried(() =>
    client.chat.completions.create(say("!slow=0.02 !forever say:on", { stream: true }), { signal: controller.signal }),
  );
  const reader = running[Symbol.asyncIterator]();
  await reader.next();
  await assert.rejects(client.chat.completions.create(say("say:no")), RateLimitError);
  controller.abort();
  const patient = new OpenAI({ baseURL: keyed, apiKey: "right" }); // with the package's own retries
  assert.equal((await patient.chat.completions.create(say("say:free"))).choices[0].message.content, "free");
});

test("an aborted request raises APIUserAbortError", async () => {
  const client = new OpenAI({ baseURL: keyed, apiKey: "right" });
  const messages = [{ role: "user", content: "!slow=0.05 !forever say:on" }];
  const aborted = client.chat.completions.create({ model: "demo", messages }, { signal: AbortSignal.timeout(300) });
  await assert.rejects(aborted, APIUserAbortError);
});

/** Tries again while the server is busy. */
async function retried(make) {
  for (let left = 50; ; left--) {
    try {
      return await make();
    } catch (error) {
      if (!(error instanceof RateLimitError) || left === 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
