// The matrix's conversation with the Vercel AI SDK's client, unmodified. It has no progress and answers no sampling.
import { createMCPClient, ElicitationRequestSchema } from "@ai-sdk/mcp";
import { callAll, cancelOnceBegun, elicited, readJob } from "./matrix.mjs";

const job = await readJob();
const marina = await createMCPClient({
  clientName: "marina-matrix-ai-sdk",
  capabilities: { elicitation: { form: {} } },
  protocolVersionDiscovery: job.mode === "modern",
  transport: { type: job.transport, url: job.url, headers: { Authorization: `Bearer ${job.key}` } },
});
marina.onElicitationRequest(ElicitationRequestSchema, elicited);
const seen = { version: marina.initializeResult.protocolVersion };
const tools = await marina.tools();
const call = (name, args, abortSignal) => tools[name].execute(args, { toolCallId: "1", messages: [], abortSignal });
seen.tools = Object.keys(tools);
if (job.calls) {
  seen.called = await callAll(job.calls, call);
  await marina.close();
  process.stdout.write(JSON.stringify(seen));
  process.exit(0);
}
seen.rows = (await call("query_database", job.query)).structuredContent.rows;
seen.resources = (await marina.listResources()).resources.map((each) => each.uri);
seen.templates = (await marina.listResourceTemplates()).resourceTemplates.map((each) => each.uriTemplate);
seen.read = [];
for (const uri of job.uris) seen.read.push((await marina.readResource({ uri })).contents[0].text);
seen.prompts = (await marina.listPrompts()).prompts.map((each) => each.name);
const prompt = await marina.getPrompt({ name: "voyage", arguments: job.prompt });
seen.prompt = prompt.messages.map((each) => [each.role, each.content.text]);
seen.asked = (await call("ask_name", {})).content[0].text;
// It never says that a call is cancelled; it drops the call's stream. Over HTTP+SSE that is everybody's stream.
const also = job.transport === "sse" ? () => marina.close() : undefined;
seen.cancelled = await cancelOnceBegun(job.marker, (signal) => call("wait", { marker: job.marker }, signal), also);
await marina.close();
process.stdout.write(JSON.stringify(seen));
