// Drives the official TypeScript client v2: node client_v2_driver.mjs MODE URL [SESSION PROTOCOL]
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { NAME, drive, say } from "./lines.mjs";

const [mode, url, sessionId, protocolVersion] = process.argv.slice(2);
const client = new Client(
  { name: "driver", version: "1" },
  { capabilities: { elicitation: { form: {} } }, versionNegotiation: { mode } },
);
client.setRequestHandler("elicitation/create", ({ params }) => {
  say({ asked: params.message });
  return { action: "accept", content: { name: NAME } };
});
client.setNotificationHandler("notifications/tools/list_changed", ({ method }) => say({ noticed: method }));

const transport = new StreamableHTTPClientTransport(new URL(url), { sessionId, protocolVersion });
await client.connect(transport);
say({ connected: transport.protocolVersion ?? null });
await drive(client, transport, (client, params, options) => client.callTool(params, options));
