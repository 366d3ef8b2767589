// The matrix's conversation with the TypeScript SDK's client, release line 2, unmodified.
import { Client, SSEClientTransport, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { capabilities, converse, elicited, readJob, sampled } from "./matrix.mjs";

const job = await readJob();
const options = { capabilities };
if (job.mode === "modern") options.versionNegotiation = { mode: "auto" };
const client = new Client({ name: "marina-matrix-typescript-2", version: "1.0.0" }, options);
client.setRequestHandler("elicitation/create", elicited);
client.setRequestHandler("sampling/createMessage", sampled);
const Transport = job.transport === "sse" ? SSEClientTransport : StreamableHTTPClientTransport;
const headers = { Authorization: `Bearer ${job.key}` };
await client.connect(new Transport(new URL(job.url), { requestInit: { headers } }));
const seen = await converse(job, client, (name, args, options) => client.callTool({ name, arguments: args }, options));
seen.version = client.getNegotiatedProtocolVersion();
await client.close();
process.stdout.write(JSON.stringify(seen));
