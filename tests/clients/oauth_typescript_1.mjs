// OAuth with the TypeScript SDK's client, release line 1, unmodified.
import { UnauthorizedError } from "@modelcontextprotocol/sdk/client/auth.js";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { authorizeAndCall } from "./oauth.mjs";

await authorizeAndCall({
  make: (authProvider, url) => ({
    client: new Client({ name: "marina-test-oauth-1", version: "1.0.0" }),
    transport: new StreamableHTTPClientTransport(url, { authProvider }),
  }),
  finish: (transport, parameters) => transport.finishAuth(parameters.get("code")),
  isUnauthorized: (error) => error instanceof UnauthorizedError,
});
