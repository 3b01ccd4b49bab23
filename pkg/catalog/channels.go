package catalog

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	definitionv1 "refrain.dev/proto/gen/go/refrain/definition/v1"

	"refrain.dev/pkg/definition"
	"refrain.dev/pkg/window"
)

func (c *compiler) channel(r *definitionv1.Resource) {
	def := r.GetChannel()
	if e := def.GetEndpoint(); e != "" {
		if _, ok := c.catalog.Kinds.Kind(e); !ok && c.names["Trait"][e] {
			c.addressTrait(r, e)
		} else if !ok {
			c.fail(r, "spec.endpoint", fmt.Sprintf("%q is neither an identifier kind nor a trait", e), "identifier kinds are "+strings.Join(c.catalog.Kinds.Names(), ", "))
		}
	}
	if text := def.GetTimeout(); text != "" {
		d, err := window.Fixed(text)
		switch {
		case err != nil:
			c.fail(r, "spec.timeout", fmt.Sprintf("%q is no duration", text), err.Error())
		case d <= 0:
			c.fail(r, "spec.timeout", text+" is no time at all", "write at least PT1S, or leave it out for PT10S")
		}
	}
	c.settings(r)
}

// address checks a trait that is a channel's endpoint.
func (c *compiler) addressTrait(channel *definitionv1.Resource, trait string) {
	for _, r := range c.byKind["Trait"] {
		if t := r.GetTrait().GetType(); r.GetMetadata().GetName() == trait && t != "string" {
			c.fail(channel, "spec.endpoint", fmt.Sprintf("the trait %q is of type %s", trait, t), "an address is a string")
		}
	}
}

// setting is one key of a channel's config.
type setting struct {
	key string
	// needed says that the adapter cannot work without it, or without the setting named in or.
	needed bool
	or     string
	// wrong says what to write instead of a value; empty if the value will do. nil takes any.
	wrong func(value string) string
}

// settings checks a channel's config against what its adapter reads.
func (c *compiler) settings(r *definitionv1.Resource) {
	adapter, config := r.GetChannel().GetAdapter(), r.GetChannel().GetConfig()
	known := settingsOf(adapter)
	for _, s := range known {
		value, given := config[s.key]
		switch {
		case s.needed && value == "" && (s.or == "" || config[s.or] == ""):
			c.fail(r, "spec.config", s.key+" is missing", "the adapter "+adapter+" needs it")
		case given && value == "" && !s.needed:
			c.fail(r, "spec.config."+s.key, s.key+" is empty", "give it a value or leave it out")
		case value != "" && s.wrong != nil && s.wrong(value) != "":
			c.fail(r, "spec.config."+s.key, fmt.Sprintf("%q is not allowed", value), s.wrong(value))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(config)) {
		if !slices.ContainsFunc(known, func(s setting) bool { return s.key == key }) {
			c.fail(r, "spec.config."+key, fmt.Sprintf("the adapter %s has no setting %s", adapter, key), otherSetting(key, known))
		}
	}
}

func otherSetting(key string, known []setting) string {
	names := make([]string, len(known))
	for i, s := range known {
		names[i] = s.key
	}
	if best := definition.Nearest(key, names); best != "" {
		return "did you mean " + best + "?"
	}
	if len(names) == 0 {
		return "it has none: remove config"
	}
	return "it has " + strings.Join(names, ", ")
}

// settingsOf lists what an adapter reads. What dispatch builds from it is in its package channel.
func settingsOf(adapter string) []setting {
	to := setting{key: "to"}
	switch adapter {
	case "webhook":
		return []setting{
			{key: "url", needed: true, wrong: address("https", "http")},
			{key: "secret_env", needed: true, or: "secret"},
			{key: "secret"},
			{key: "old_secret_env"},
			{key: "old_secret"},
			{key: "old_secret_until", wrong: instant},
			to,
		}
	case "smtp":
		return []setting{
			{key: "address", needed: true, wrong: hostPort},
			{key: "from", needed: true, wrong: mailbox},
			{key: "tls", wrong: oneOf("starttls", "implicit", "none")},
			{key: "username"},
			{key: "secret_env"},
			{key: "secret"},
			to,
		}
	case "nats":
		return []setting{
			{key: "subject", needed: true, wrong: subject},
			{key: "url", wrong: address("nats", "tls", "ws", "wss")},
			{key: "stream", wrong: oneOf("true", "false")},
			to,
		}
	case "file":
		return []setting{
			{key: "path", needed: true, wrong: localPath},
			{key: "sync", wrong: oneOf("true", "false")},
			{key: "maildir", wrong: localPath},
			{key: "from", wrong: mailbox},
			to,
		}
	}
	return nil
}

func oneOf(values ...string) func(string) string {
	return func(value string) string {
		if slices.Contains(values, value) {
			return ""
		}
		return "one of " + strings.Join(values, ", ")
	}
}

// address wants a URL of one of the schemes. Packages that could open it are not for here.
func address(schemes ...string) func(string) string {
	return func(value string) string {
		want := strings.Join(schemes, ":// or ") + "://"
		scheme, rest, ok := strings.Cut(value, "://")
		if !ok {
			return "it has no scheme: write " + schemes[0] + "://" + strings.TrimLeft(value, "/")
		}
		host, _, _ := strings.Cut(rest, "/")
		if !slices.Contains(schemes, strings.ToLower(scheme)) || host == "" || strings.ContainsAny(value, " \t\r\n") {
			return "write " + want + " and a host"
		}
		return ""
	}
}

func hostPort(value string) string {
	i := strings.LastIndexByte(value, ':')
	if port, err := strconv.ParseUint(value[i+1:], 10, 16); i > 0 && err == nil && port > 0 {
		return ""
	}
	return "write the relay as host:port, such as mail.shop.example:25"
}

// mailbox wants an address, alone or in angle brackets behind a name.
func mailbox(value string) string {
	if _, rest, ok := strings.Cut(value, "<"); ok {
		value, ok = strings.CutSuffix(strings.TrimSpace(rest), ">")
		if !ok {
			value = ""
		}
	}
	local, domain, ok := strings.Cut(strings.TrimSpace(value), "@")
	if ok && local != "" && domain != "" && !strings.ContainsAny(domain, "@<>") && !strings.ContainsAny(local+domain, " \t\r\n") {
		return ""
	}
	return `write an address, such as "Shop <shop@shop.example>"`
}

func subject(value string) string {
	if !strings.ContainsAny(value, "*> \t\r\n") {
		return ""
	}
	return "write one subject, without wildcards and blanks"
}

func localPath(value string) string {
	if filepath.IsAbs(value) || filepath.IsLocal(value) {
		return ""
	}
	return "it leads out of the data directory: write a path below it, or one that begins with /"
}

func instant(value string) string {
	if _, err := time.Parse(time.RFC3339, value); err == nil {
		return ""
	}
	return "write an instant, such as 2026-07-01T00:00:00Z"
}
