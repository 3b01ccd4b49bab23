// Publishes with the official CloudEvents SDK, binary and structured. Usage: node cloudevents.js URL USER
import { CloudEvent, Mode, emitterFor, httpTransport } from "cloudevents";

const [host, userid] = process.argv.slice(2);
for (const mode of [Mode.BINARY, Mode.STRUCTURED]) {
  const emit = emitterFor(httpTransport(`${host}/cloudevents`), { mode });
  const event = new CloudEvent({
    id: `node-${mode}`, source: "/shop", type: "order_placed", userid, data: { order_id: `node-${mode}`, total: 3 },
  });
  const answer = await emit(event);
  if (!JSON.parse(answer.body).success) {
    console.error(answer);
    process.exitCode = 1;
  }
}
