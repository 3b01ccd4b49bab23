package event

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The normalisers.
const (
	NormaliserNone  = "none"
	NormaliserLower = "lower"
	NormaliserEmail = "email"
	NormaliserPhone = "phone"
)

const maxIdentifier = 512

func normalise(normaliser, value string) (string, error) {
	switch normaliser {
	case NormaliserLower:
		return strings.ToLower(value), nil
	case NormaliserEmail:
		return normaliseEmail(value)
	case NormaliserPhone:
		return normalisePhone(value)
	case NormaliserNone, "":
		return value, nil
	}
	return "", fmt.Errorf("unknown normaliser %q", normaliser)
}

// normaliseEmail lower-cases an address and checks its shape, no more: whether it exists only a bounce
// can tell. Characters that could end a mail header are refused.
func normaliseEmail(value string) (string, error) {
	value = strings.ToLower(value)
	if isBlocked(value) {
		return value, nil
	}
	local, domain, ok := strings.Cut(value, "@")
	if !ok || local == "" || domain == "" || strings.Contains(domain, "@") {
		return "", errors.New("not an e-mail address: want name@domain")
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`<>,;:"()[]\`, r) }) {
		return "", errors.New("not an e-mail address: it holds a character that an address cannot have")
	}
	return value, nil
}

// normalisePhone keeps a leading plus and the digits; the usual separators are dropped.
func normalisePhone(value string) (string, error) {
	if isBlocked(value) {
		return value, nil
	}
	var b strings.Builder
	for i, r := range value {
		switch {
		case r >= '0' && r <= '9', r == '+' && i == 0:
			b.WriteRune(r)
		case strings.ContainsRune(" -./()\u00a0", r):
		default:
			return "", errors.New("not a phone number: only digits, separators and a leading + are allowed")
		}
	}
	out := b.String()
	digits := strings.TrimPrefix(out, "+")
	if isBlocked(digits) {
		return "", nil // nothing but zeros is nobody's number
	}
	if len(digits) < 5 || len(digits) > 15 {
		return "", errors.New("not a phone number: want 5 to 15 digits")
	}
	return out, nil
}

// blockedWords are values that programs send when they know nobody.
func blockedWords() []string {
	return []string{
		"", "null", "nil", "none", "undefined", "unknown", "anonymous", "guest", "n/a", "na", "nan",
		"true", "false", "[object object]", "-1", "not_set", "(not set)", "distinct_id", "userid", "user_id",
	}
}

// isBlocked says whether a value identifies nobody: one of the words, or nothing but zeros and dashes,
// such as the nil UUID.
func isBlocked(value string) bool {
	if strings.Trim(value, "0-") == "" {
		return true
	}
	return len(value) < 20 && slices.Contains(blockedWords(), strings.ToLower(value))
}
