// What the two test files share: where the servers are, and the questions whose answers the shipped model knows.

/** The server of the model that ships, without keys. */
export const demo = `${process.env.IXMODAL_DEMO_URL}/v1`;

/** A server with the key "right", one slot and no queue, whose engine says what it is told. */
export const keyed = `${process.env.IXMODAL_KEYED_URL}/v1`;

export const QUESTION = "What is the capital of France?";
export const ANSWER = "The capital of France is Paris.";
export const WEATHER_QUESTION = "What is the weather in Paris?";

/** All that an async iterable gives. */
export async function collect(iterable) {
  const found = [];
  for await (const item of iterable) found.push(item);
  return found;
}
