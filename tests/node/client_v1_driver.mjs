// Drives the official TypeScript SDK v1: node client_v1_driver.mjs URL [SESSION PROTOCOL]
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema, ToolListChangedNotificationSchema } from "@modelcontextprotocol/sdk/types.js";
import { NAME, drive, say } from "./lines.mjs";

const [url, session, protocol] = process.argv.slice(2);
const client = new Client({ name: "driver", version: "1" }, { capabilities: { elicitation: { form: {} } } });
client.setRequestHandler(ElicitRequestSchema, ({ params }) => {
  say({ asked: params.message });
  return { action: "accept", content: { name: NAME } };
});
client.setNotificationHandler(ToolListChangedNotificationSchema, ({ method }) => say({ noticed: method }));

const transport = new StreamableHTTPClientTransport(new URL(url), { sessionId: session });
if (protocol) transport.setProtocolVersion(protocol);
await client.connect(transport);
say({ connected: transport.protocolVersion ?? null });
await drive(client, transport, (client, params, options) => client.callTool(params, undefined, options));
