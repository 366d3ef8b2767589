// What the two release lines of the TypeScript SDK are asked to do for the matrix of clients. In and out: JSON.
// The key never stands in the arguments, which other users of the machine can read.
import { existsSync, readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { text } from "node:stream/consumers";

export const readJob = async () => JSON.parse(await text(process.stdin));

// Start a call, cancel it when its tool has made its file; then wait until the tool has noticed.
// What a client must do besides aborting is `also`.
export async function cancelOnceBegun(marker, call, also = async () => {}) {
  const giveUp = AbortSignal.timeout(60_000);
  const abort = new AbortController();
  let ended = null;
  const calling = call(abort.signal).then(
    (result) => (ended = `ended: ${JSON.stringify(result)}`),
    () => (ended = "cancelled"),
  );
  while (!existsSync(marker)) {
    if (ended !== null || giveUp.aborted) return `never began: ${ended}`;
    await pause(20);
  }
  abort.abort();
  await calling;
  await also();
  while (readFileSync(marker, "utf8") !== "cancelled") {
    if (giveUp.aborted) return "the tool was not cancelled";
    await pause(20);
  }
  return ended;
}

// The text of what each of these calls gives, one after the other.
export async function callAll(calls, call) {
  const said = [];
  for (const [name, args] of calls) said.push((await call(name, args)).content.map((each) => each.text ?? "").join(""));
  return said;
}

export async function converse(job, client, call) {
  const seen = { progress: [] };
  seen.tools = (await client.listTools()).tools.map((tool) => tool.name);
  if (job.calls) return { ...seen, called: await callAll(job.calls, call) };
  seen.rows = (await call("query_database", job.query)).structuredContent.rows;
  seen.resources = (await client.listResources()).resources.map((each) => each.uri);
  seen.templates = (await client.listResourceTemplates()).resourceTemplates.map((each) => each.uriTemplate);
  seen.read = [];
  for (const uri of job.uris) seen.read.push((await client.readResource({ uri })).contents[0].text);
  seen.prompts = (await client.listPrompts()).prompts.map((each) => each.name);
  const prompt = await client.getPrompt({ name: "voyage", arguments: job.prompt });
  seen.prompt = prompt.messages.map((each) => [each.role, each.content.text]);
  const onprogress = ({ progress, total, message }) => seen.progress.push([progress, total, message]);
  await call("count_to", { number: 3 }, { onprogress });
  seen.asked = (await call("ask_name", {})).content[0].text;
  seen.sampled = (await call("ask_model", {})).content[0].text;
  seen.cancelled = await cancelOnceBegun(job.marker, (signal) => call("wait", { marker: job.marker }, { signal }));
  return seen;
}

export const elicited = async () => ({ action: "accept", content: { name: "Ada" } });
export const sampled = async () => ({ role: "assistant", model: "test", content: { type: "text", text: "Ahoy" } });
export const capabilities = { elicitation: { form: {} }, sampling: {} };
