// What every script does with its client: list the tools, make the job's calls, and tell what came back.
import { text } from "node:stream/consumers";

const seen = (error) => ({ name: error?.name, code: error?.code, message: String(error?.message ?? error), data: error?.data });

export async function converse(connect) {
  const job = JSON.parse(await text(process.stdin));
  const answer = { version: null, server: null, instructions: null, tools: [], calls: [], error: null };
  let client;
  try {
    const connected = await connect(job);
    client = connected.client;
    answer.version = connected.version;
    answer.server = client.getServerVersion() ?? null;
    answer.instructions = client.getInstructions() ?? null;
    answer.tools = (await client.listTools()).tools;
    for (const { name, arguments: args } of job.calls) {
      try {
        answer.calls.push({ result: await connected.call(name, args) });
      } catch (error) {
        answer.calls.push({ error: seen(error) });
      }
    }
  } catch (error) {
    answer.error = seen(error);
  } finally {
    await client?.close();
  }
  process.stdout.write(JSON.stringify(answer));
}
