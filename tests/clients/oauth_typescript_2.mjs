// OAuth with the TypeScript SDK's client, release line 2, unmodified.
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from "@modelcontextprotocol/client";
import { authorizeAndCall } from "./oauth.mjs";

await authorizeAndCall({
  make: (authProvider, url) => ({
    client: new Client({ name: "marina-test-oauth-2", version: "1.0.0" }),
    transport: new StreamableHTTPClientTransport(url, { authProvider }),
  }),
  finish: (transport, parameters) => transport.finishAuth(parameters),
  isUnauthorized: (error) => error instanceof UnauthorizedError,
});
