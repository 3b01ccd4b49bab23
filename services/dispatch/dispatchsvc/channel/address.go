package channel

import (
	"net"
	"net/netip"
	"strings"
)

func domainOf(address string) string {
	if i := strings.LastIndexByte(address, '@'); i >= 0 {
		return address[i+1:]
	}
	return "localhost"
}

// helloName is what the client calls itself; a relay cares little, but it must be a name.
func helloName(domain string) string {
	if domain == "" {
		return "localhost"
	}
	return domain
}

func loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}

// Loopback says that a host name or address (with or without a port) is this machine.
func Loopback(hostport string) bool {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return loopback(host)
	}
	return loopback(hostport)
}
