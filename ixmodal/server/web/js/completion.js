// One streamed answer of `POST /v1/chat/completions`.

import { ApiError, request } from "./api.js";
import { eventData } from "./sse.js";

/**
 * The pieces of an answer, as they come: `{text}`, `{reasoning}`, `{finish}`, `{usage}`, `{servedBy}`.
 * Throws `ApiError`, also for a stream that fails or ends before its answer does; `AbortError` after `signal`.
 */
export async function* streamCompletion(body, signal) {
  const asked = { ...body, stream: true, stream_options: { include_usage: true } };
  const response = await request("v1/chat/completions", { method: "POST", body: asked, signal });
  const servedBy = response.headers.get("x-ixmodal-served-by");
  if (servedBy) yield { servedBy };
  let finished = false;
  try {
    for await (const data of eventData(response.body)) {
      if (data === "[DONE]") break;
      const chunk = JSON.parse(data);
      if (chunk.error) throw ApiError.of(200, chunk);
      for (const choice of chunk.choices ?? []) {
        if (choice.delta?.reasoning_content) yield { reasoning: choice.delta.reasoning_content };
        if (choice.delta?.content) yield { text: choice.delta.content };
        if (choice.finish_reason) {
          finished = true;
          yield { finish: choice.finish_reason };
        }
      }
      if (chunk.usage) yield { usage: chunk.usage };
    }
  } catch (error) {
    if (error instanceof ApiError || error.name === "AbortError") throw error;
    throw new ApiError(0, "The connection broke off in the middle of the answer.");
  }
  if (!finished) throw new ApiError(0, "The answer ended too early.");
}
