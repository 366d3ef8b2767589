// A server made with the TypeScript SDK, release line 2, unmodified: it serves both eras at /mcp of the port it is given.
import { createServer } from "node:http";
import { Readable } from "node:stream";
import { createMcpHandler, fromJsonSchema, inputRequired, McpServer } from "@modelcontextprotocol/server";

const text = (words) => ({ content: [{ type: "text", text: words }] });
const named = { type: "object", properties: { name: { type: "string" } }, required: ["name"] };
const asked = { type: "object", properties: { captain: { type: "string" } }, required: ["captain"] };

const handler = createMcpHandler(() => {
  const server = new McpServer({ name: "typescript-2", version: "1.0.0" });
  server.registerTool(
    "launch",
    { description: "Launch a ship.", inputSchema: fromJsonSchema(named) },
    async ({ name }) => text(`${name} is launched.`),
  );
  server.registerTool(
    "crew",
    { description: "Man a ship: asks who is to command it.", inputSchema: fromJsonSchema(named) },
    async ({ name }, context) => {
      const answer = context.mcpReq.inputResponses?.captain;
      if (answer === undefined) {
        const captain = inputRequired.elicit({ message: `Who commands ${name}?`, requestedSchema: asked });
        return inputRequired({ inputRequests: { captain } });
      }
      return text(answer.action === "accept" ? `${answer.content.captain} commands ${name}.` : "Nobody commands it.");
    },
  );
  return server;
});

createServer(async (request, response) => {
  const headers = Object.entries(request.headersDistinct).flatMap(([name, all]) => all.map((one) => [name, one]));
  const body = request.method === "POST" ? Readable.toWeb(request) : undefined;
  const url = new URL(request.url, "http://127.0.0.1");
  const given = new Request(url, { method: request.method, headers, body, duplex: "half" });
  const answer = await handler.fetch(given);
  response.writeHead(answer.status, Object.fromEntries(answer.headers));
  if (answer.body === null) {
    response.end();
  } else {
    Readable.fromWeb(answer.body).pipe(response);
  }
}).listen(Number(process.argv[2]), "127.0.0.1");
