// One conversation of the TypeScript SDK's client, release line 1, unmodified. In and out as typescript_2.mjs.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { converse } from "./conversation.mjs";

await converse(async (job) => {
  const client = new Client({ name: "marina-test-typescript-1", version: "1.0.0" });
  const transport = new StreamableHTTPClientTransport(new URL(job.url), {
    requestInit: { headers: { Authorization: `Bearer ${job.key}` } },
  });
  await client.connect(transport);
  return {
    client,
    version: transport.protocolVersion,
    call: (name, args) => client.callTool({ name, arguments: args }),
  };
});
