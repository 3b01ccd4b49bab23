package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// PublicURL says what is wrong with the address at which the public reaches a service: links to it carry tokens, so it is
// https, or http on this machine. It returns nil if nothing is.
func PublicURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("public_url: %q is not an address such as https://mail.example.com", text)
	}
	if u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()) {
		return nil
	}
	return fmt.Errorf("public_url: %q must be https; http is for this machine only", text)
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && ip.Unmap().IsLoopback()
}
