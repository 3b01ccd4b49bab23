package event

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nyaruka/phonenumbers"
)

// The lengths of a telephone number, without what separates its digits. Longer ones are not looked at.
const (
	minPhone = 5
	maxPhone = 15
	// maxPhoneText bounds the text with its separators.
	maxPhoneText = 64
)

// errNoCountry says that a number can be one of many countries.
var errNoCountry = errors.New("a phone number without country code: write it as +49 30 123456, or name the region of the workspace")

// IsRegion says whether a code is an ISO 3166 code of a country with telephone numbers, in capitals.
func IsRegion(code string) bool { return phonenumbers.GetCountryCodeForRegion(code) != 0 }

// normalisePhone returns a telephone number in its one form, that of E.164, such as +4930123456. One without a country code
// is of the region; without a region it could be anybody's. Normalising twice changes nothing.
func normalisePhone(value, region string) (string, error) {
	if isBlocked(value) {
		return value, nil
	}
	digits, err := phoneDigits(value)
	if err != nil {
		return "", err
	}
	if isBlocked(strings.TrimPrefix(digits, "+")) {
		return "", nil // nothing but zeros is nobody's number
	}
	if region == "" && !strings.HasPrefix(digits, "+") {
		return "", errNoCountry
	}
	// What is left out in the one form, such as the 0 behind a country code, may leave something to leave out again.
	for range maxPhone {
		out, err := e164(digits, region)
		if err != nil || out == digits {
			return out, err
		}
		digits = out
	}
	return "", errors.New("not a phone number: it has no form that is its own")
}

// phoneDigits keeps a leading plus and the digits; the usual separators are dropped.
func phoneDigits(value string) (string, error) {
	if len(value) > maxPhoneText {
		return "", fmt.Errorf("not a phone number: it has %d bytes", len(value))
	}
	var b strings.Builder
	for i, r := range value {
		switch {
		case r >= '0' && r <= '9', r == '+' && i == 0:
			b.WriteRune(r)
		case strings.ContainsRune(" -./()", r):
		default:
			return "", errors.New("not a phone number: only digits, separators and a leading + are allowed")
		}
	}
	out := b.String()
	if n := len(strings.TrimPrefix(out, "+")); n < minPhone || n > maxPhone+2 { // 00 may stand for the +
		return "", fmt.Errorf("not a phone number: want %d to %d digits", minPhone, maxPhone)
	}
	return out, nil
}

// e164 reads digits as people dial them in a region. A number with a country code is taken as it is, since numbering plans
// change faster than lists of them; one without must be complete in its region.
func e164(digits, region string) (string, error) {
	n, err := phonenumbers.Parse(digits, region)
	switch {
	case errors.Is(err, phonenumbers.ErrInvalidCountryCode):
		return "", errors.New("not a phone number: no country has its country code")
	case err != nil:
		return "", errors.New("not a phone number: it has no form that can be dialled")
	case !strings.HasPrefix(digits, "+") && phonenumbers.IsPossibleNumberWithReason(n) != phonenumbers.IS_POSSIBLE:
		return "", fmt.Errorf("not a phone number that can be dialled from elsewhere: it has no country code and is not complete in %s", region)
	}
	out := phonenumbers.Format(n, phonenumbers.E164)
	if len(out) > maxPhone+1 || len(out) < minPhone+1 {
		return "", fmt.Errorf("not a phone number: want %d to %d digits", minPhone, maxPhone)
	}
	return out, nil
}
