// The matrix's conversation with the TypeScript SDK's client, release line 1, unmodified.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { CreateMessageRequestSchema, ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { capabilities, converse, elicited, readJob, sampled } from "./matrix.mjs";

const job = await readJob();
const client = new Client({ name: "marina-matrix-typescript-1", version: "1.0.0" }, { capabilities });
client.setRequestHandler(ElicitRequestSchema, elicited);
client.setRequestHandler(CreateMessageRequestSchema, sampled);
const Transport = job.transport === "sse" ? SSEClientTransport : StreamableHTTPClientTransport;
const headers = { Authorization: `Bearer ${job.key}` };
const transport = new Transport(new URL(job.url), { requestInit: { headers } });
let version = null;
const setVersion = transport.setProtocolVersion?.bind(transport);
transport.setProtocolVersion = (given) => {
  version = given;
  setVersion?.(given);
};
await client.connect(transport);
const seen = await converse(job, client, (name, args, options) =>
  client.callTool({ name, arguments: args }, undefined, options),
);
seen.version = version;
await client.close();
process.stdout.write(JSON.stringify(seen));
