package channel

import (
	"fmt"
	"net"
	netmail "net/mail"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// mailbox reads an address, with a name or without. Its domain is in the form that every relay knows; what stands
// before it is kept as it is written.
func mailbox(text string) (*netmail.Address, error) {
	a, err := netmail.ParseAddress(text)
	if err != nil {
		return nil, fmt.Errorf("parse address: %w", err)
	}
	at := strings.LastIndexByte(a.Address, '@')
	if domain := a.Address[at+1:]; !ascii(domain) {
		name, err := idna.Lookup.ToASCII(domain)
		if err != nil {
			return nil, fmt.Errorf("parse domain: %w", err)
		}
		a.Address = a.Address[:at+1] + name
	}
	return a, nil
}

// path is an address as the commands of SMTP name it, quoted where it has to be.
func path(a *netmail.Address) string {
	return strings.Trim((&netmail.Address{Address: a.Address}).String(), "<>")
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

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
