// Package cluster runs NATS clusters of real nats-server processes with JetStream, to be broken: each server
// can be killed, paused, and started again on its own directory, and every connection, of clients and between
// servers, goes through a fault proxy that can be cut, blackholed or delayed. Proxies also give every server
// addresses that stay, while the servers themselves listen on whatever ports are free.
//
// It is there on Unix only; package child says what Linux adds.
package cluster
