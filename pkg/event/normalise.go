package event

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// The normalisers.
const (
	NormaliserNone  = "none"
	NormaliserLower = "lower"
	NormaliserEmail = "email"
	NormaliserPhone = "phone"
)

const maxIdentifier = 512

// normalise returns a value of a region in the form in which it is compared, and, where that is another one, in the form in which
// it is written to.
func normalise(normaliser, value, region string) (compared, written string, err error) {
	if normaliser == NormaliserPhone {
		value = strings.Map(separator, value)
	}
	value, err = visible(value)
	if err != nil {
		return "", "", err
	}
	switch normaliser {
	case NormaliserLower:
		// Lower-casing may decompose.
		return norm.NFC.String(strings.ToLower(value)), "", nil
	case NormaliserEmail:
		return normaliseEmail(value)
	case NormaliserPhone:
		compared, err = normalisePhone(value, region)
		return compared, "", err
	case NormaliserNone, "":
		return value, "", nil
	}
	return "", "", fmt.Errorf("unknown normaliser %q", normaliser)
}

// visible returns a value composed (NFC) and without blanks around it, those included that cannot be seen or do not
// break. Inside, characters that cannot be seen are refused: two values that look alike must not be two customers.
func visible(value string) (string, error) {
	value = norm.NFC.String(strings.TrimFunc(value, blank))
	if strings.ContainsFunc(value, unseen) {
		return "", errors.New("the value holds characters that cannot be seen, such as a no-break or zero-width space: publish it without them")
	}
	return value, nil
}

// blank reports whether a character around a value is no part of it.
func blank(r rune) bool { return unicode.IsSpace(r) || unseen(r) }

// unseen reports whether a character cannot be told from a blank, or from nothing: control and format characters,
// no-break spaces, fillers and what else has no ink of its own.
func unseen(r rune) bool {
	switch {
	case r == ' ':
		return false
	case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Zs, unicode.Noncharacter_Code_Point, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector):
		return true
	}
	return false
}

// separator writes the blanks and dashes of a telephone number, which people paste in all forms, as plain ones.
func separator(r rune) rune {
	switch {
	case unicode.Is(unicode.Zs, r):
		return ' '
	case unicode.Is(unicode.Pd, r), r == '\u2212':
		return '-'
	}
	return r
}

// domains turns the domain of an address into the form in which it is looked up. Underscores are let through: mail
// servers' names have them.
func domains() *idna.Profile {
	return idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false), idna.BidiRule(), idna.VerifyDNSLength(true))
}

// normaliseEmail checks the shape of an address, no more: whether it exists only a bounce can tell. Addresses are
// compared with the local part in lower case and the domain in its A-label form (münchen.example is
// xn--mnchen-3ya.example), and written to with the local part as it was published. Characters that could end a mail
// header are refused.
func normaliseEmail(value string) (compared, written string, err error) {
	if isBlocked(strings.ToLower(value)) {
		return strings.ToLower(value), "", nil
	}
	local, domain, ok := strings.Cut(value, "@")
	if !ok || local == "" || domain == "" || strings.Contains(domain, "@") {
		return "", "", errors.New("not an e-mail address: want name@domain")
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`<>,;:"()[]\`, r) }) {
		return "", "", errors.New("not an e-mail address: it holds a character that an address cannot have")
	}
	domain, err = domains().ToASCII(strings.TrimSuffix(domain, "."))
	if err != nil || domain == "" || strings.HasSuffix(domain, ".") || strings.ContainsFunc(domain, func(r rune) bool { return r <= ' ' || strings.ContainsRune(`@<>,;:"()[]\`, r) }) {
		return "", "", errors.New("not an e-mail address: its domain cannot be one")
	}
	return norm.NFC.String(strings.ToLower(local)) + "@" + domain, local + "@" + domain, nil
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
