// Package membership shares the partitions of a service among its replicas.
//
// Every replica holds one lease in the store beside the log, under its name, and renews it well inside its
// time. The lease says how to reach the replica, which partitions it will keep for now, and whether it is
// about to leave. All replicas read all leases, and compute from them, each for itself, who owns what: by
// rendezvous hashing of a partition over the members, except that a partition stays for a minimum time with
// the member that acquired it. Who lost a member takes its partitions at once.
//
// A member is gone when its lease is gone, when it says that it has left, or when its lease has not changed
// for its time by the reader's own monotonic clock; no other clock is trusted. A replica that could not renew
// its own within the time, counted from when it sent the last renewal, owns nothing, whatever it sees.
//
// None of this makes anything safe. Two replicas may believe for a while that they own a partition, or none
// may; appends to the partition's chain decide. Membership only makes such whiles rare and short.
package membership
