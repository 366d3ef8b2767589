// A client that has a URL and nothing else: from a bare 401 through discovery, registration, a member's consent in a
// browser, a call, and a refresh. Reads a job (JSON) on standard input. Writes lines of JSON on standard output:
// {"visit": address} for each address that a browser is to open, and what the client saw as the last.
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { text } from "node:stream/consumers";

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

/** What a client keeps, and the address that the browser comes back to. */
class Keeper {
  kept = {};
  states = [];

  constructor(scope) {
    this.clientMetadata = { client_name: "Probe", redirect_uris: [], token_endpoint_auth_method: "none" };
    if (scope) this.clientMetadata.scope = scope;
    this.server = createServer((request, answer) => {
      const address = new URL(request.url, this.redirectUrl);
      answer.setHeader("Content-Type", "text/html").end("<link rel=icon href='data:,'><p>You may close this window.</p>");
      if (address.pathname === "/callback") this.server.emit("back", address.searchParams);
    });
  }

  async listen() {
    this.server.listen(0, "127.0.0.1");
    await once(this.server, "listening");
    this.redirectUrl = `http://127.0.0.1:${this.server.address().port}/callback`;
    this.clientMetadata.redirect_uris = [this.redirectUrl];
  }

  state() {
    this.states.push(randomUUID());
    return this.states.at(-1);
  }
  clientInformation() {
    return this.kept.client;
  }
  saveClientInformation(client) {
    this.kept.client = client;
  }
  tokens() {
    return this.kept.tokens;
  }
  saveTokens(tokens) {
    this.kept.tokens = tokens;
  }
  codeVerifier() {
    return this.kept.verifier;
  }
  saveCodeVerifier(verifier) {
    this.kept.verifier = verifier;
  }
  redirectToAuthorization(address) {
    this.back = once(this.server, "back");
    say({ visit: String(address) });
  }

  /** What the browser came back with. */
  async comeBack() {
    const [found] = await this.back;
    if (found.get("state") !== this.states.at(-1)) throw new Error("the state is not the one that was sent");
    return found;
  }
}

/** `make(keeper, url)` gives `{ client, transport }`; `finish(transport, parameters)` trades the code. */
export async function authorizeAndCall({ make, finish, isUnauthorized }) {
  const job = JSON.parse(await text(process.stdin));
  const keeper = new Keeper(job.scope);
  await keeper.listen();
  const seen = { tools: [], answers: [], scopes: [], refreshed: false, error: null };
  let made;

  /** Do it; where a browser is needed first, wait for it and do it again. */
  const withConsent = async (work) => {
    try {
      return await work();
    } catch (error) {
      if (!isUnauthorized(error)) throw error;
      await finish(made.transport, await keeper.comeBack());
      return work();
    }
  };
  const call = async () => {
    const answer = await withConsent(() => made.client.callTool(job.call));
    seen.answers.push(answer.structuredContent ?? answer.content);
    seen.scopes.push(keeper.kept.tokens.scope);
  };
  try {
    await withConsent(async () => {
      made = make(keeper, new URL(job.url));
      await made.client.connect(made.transport);
    });
    seen.tools = (await made.client.listTools()).tools.map((tool) => tool.name);
    await call();
    const before = keeper.kept.tokens;
    // As at its end: the server no longer knows it.
    keeper.kept.tokens = { ...before, access_token: "mcp_at_ended" };
    await call();
    seen.refreshed = keeper.kept.tokens.refresh_token !== before.refresh_token;
  } catch (error) {
    seen.error = `${error?.name}: ${error?.message}`;
  } finally {
    await made?.client.close();
    keeper.server.close();
    keeper.server.closeAllConnections();
  }
  say(seen);
}
