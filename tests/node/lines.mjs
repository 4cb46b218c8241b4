// How a driver talks with the test that drives it: see tests/clients/lines.py.
import { createInterface } from "node:readline";

export const NAME = "Ada";

export const say = (words) => process.stdout.write(JSON.stringify(words) + "\n");

const text = (result) => result.content.map((block) => block.text ?? "").join(" ");

async function perform(client, transport, command, call) {
  if (command.do === "list") return say({ tools: (await client.listTools()).tools.map((tool) => tool.name) });
  if (command.do === "leave") return say({ session: transport.sessionId, protocol: transport.protocolVersion });
  const result = await call(client, { name: command.tool, arguments: command.arguments }, {
    onprogress: ({ progress }) => say({ progress }),
  });
  return say(result.isError ? { failed: text(result), code: null } : { answer: text(result) });
}

// Do what the test says, one command at a time, until it says to leave the session or to close it.
export async function drive(client, transport, call) {
  client.onerror = (error) => say({ trouble: error.message });
  for await (const line of createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    if (command.do === "close") {
      await transport.terminateSession();
      break;
    }
    try {
      await perform(client, transport, command, call);
    } catch (error) {
      say({ failed: error.message, code: error.code ?? null });
    }
    if (command.do === "leave") break;
  }
  await client.close();
  process.exit(0); // input that stays open must not keep it running
}
