// One conversation of the TypeScript SDK's client, release line 2, unmodified.
// Reads a job (JSON) on standard input and writes what the client saw (JSON) on standard output:
// the key never stands in the arguments, which other users of the machine can read.
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { converse } from "./conversation.mjs";

await converse(async (job) => {
  const options = job.version >= "2026" ? { versionNegotiation: { mode: job.negotiation ?? { pin: job.version } } } : {};
  if (job.version < "2026") {
    // What a client of that age offers.
    options.supportedProtocolVersions = [job.version];
  }
  const client = new Client({ name: "marina-test-typescript-2", version: "1.0.0" }, options);
  const transport = new StreamableHTTPClientTransport(new URL(job.url), {
    requestInit: { headers: { Authorization: `Bearer ${job.key}` } },
  });
  await client.connect(transport);
  return {
    client,
    version: client.getNegotiatedProtocolVersion(),
    call: (name, args) => client.callTool({ name, arguments: args }),
  };
});
