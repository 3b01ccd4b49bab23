// Command chaos runs the five services as processes of their own, two of each, over three real NATS servers and
// a real Redis, breaks them in every way that it knows while load comes from outside, lets them settle, and
// holds what is left against what was acknowledged and what the providers really got.
//
// What breaks: services are killed (SIGKILL), paused for longer than their leases (SIGSTOP), and kill themselves
// exactly between two effects (failpoints); brokers are killed, a minority at a time, and leaders deposed; Redis
// is killed, emptied and set back; connections between all of them are reset, swallowed and delayed; providers
// lie. Nothing that breaks is asked to stop first.
//
// Every random choice follows from a seed that is printed. It gives the same faults at about the same times, not
// the same run: processes are not deterministic. So everything is kept when something is wrong.
package main
