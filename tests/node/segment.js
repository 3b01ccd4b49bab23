// Publishes one call of each kind with the official Segment SDK. Usage: node segment.js URL USER DEVICE
import { Analytics } from "@segment/analytics-node";

const [host, userId, anonymousId] = process.argv.slice(2);
const analytics = new Analytics({ writeKey: "node", host, flushAt: 2, maxRetries: 1 });
analytics.on("error", (problem) => {
  console.error(problem);
  process.exitCode = 1;
});

analytics.page({ anonymousId, name: "Home", properties: { path: "/" } });
analytics.identify({ userId, anonymousId, traits: { name: "Grace", email: `${userId}@shop.example` } });
analytics.track({ userId, event: "order_placed", properties: { order_id: "node-1", total: 19.5 } });
analytics.group({ userId, groupId: "acme", traits: { plan: "gold" } });
analytics.alias({ previousId: `${anonymousId}-old`, userId });
await analytics.closeAndFlush({ timeout: 10000 });
