// Schedules a hold, lists it, captures it, and waits for the signed callback.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

import { createClient, HolddError, listHolds, unwrap, verifyCallback, CallbackError } from "./src/index.js";

function env(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`set ${name}`);
  return value;
}

const seen = new Set<string>();
const captured = new Promise<string>((resolve) => {
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    try {
      const event = await verifyCallback(Buffer.concat(chunks), request.headers, {
        secret: env("HOLDD_CALLBACK_SECRET"),
      });
      const isNew = !seen.has(event.id);
      seen.add(event.id);
      response.writeHead(204).end();
      if (isNew && event.type === "hold.captured") {
        server.close();
        resolve(event.data.hold?.reference ?? "");
      }
    } catch (error) {
      response.writeHead(error instanceof CallbackError ? 400 : 500).end();
    }
  });
  server.listen(0, "127.0.0.1", () => console.log("listening", (server.address() as AddressInfo).port));
});

const client = createClient({ baseUrl: env("HOLDD_URL"), token: env("HOLDD_TOKEN") });
const request = { payment_intent: env("PI"), reference: "TS-2071", metadata: { room: "12" } };

const scheduled = await unwrap(client.POST("/v1/holds", { body: { ...request, capture_at: env("AT") } }));
console.log("scheduled", scheduled.state, scheduled.amount);

for await (const hold of listHolds(client, { metadata: { room: "12" } })) console.log("listed", hold.reference);

try {
  await unwrap(client.POST("/v1/holds", { body: { ...request, cancel_at: env("AT") } }));
} catch (error) {
  if (!(error instanceof HolddError)) throw error;
  console.log("refused", error.status, error.code, error.problem?.type);
}

await unwrap(
  client.POST("/v1/holds/{id}/capture", { params: { path: { id: "TS-2071" } }, body: { amount: 9900 } }),
);
console.log("captured", await captured);
