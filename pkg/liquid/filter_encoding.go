package liquid

import (
	"encoding/base64"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

func encodingFilters() map[string]filter {
	escape := onText(escapeHTML)
	return map[string]filter{
		"escape": escape, "h": escape,
		"escape_once":            onText(escapeOnce),
		"url_encode":             onText(escapeURL),
		"url_decode":             decoding(unescapeURL, "a text of a URL"),
		"base64_encode":          onText(encodeWith(base64.StdEncoding)),
		"base64_url_safe_encode": onText(encodeWith(base64.URLEncoding)),
		"base64_decode":          decoding(decodeWith(base64.StdEncoding), "base64"),
		"base64_url_safe_decode": decoding(decodeURLSafe, "base64 for URLs"),
	}
}

func escapeHTML(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;").Replace(s)
}

var entity = regexp.MustCompile(`&(?:[a-zA-Z]+|#\d+);|[&<>"']`)

// escapeOnce leaves alone what is escaped already.
func escapeOnce(s string) string {
	return entity.ReplaceAllStringFunc(s, func(found string) string {
		if len(found) > 1 {
			return found
		}
		return escapeHTML(found)
	})
}

func encodeWith(e *base64.Encoding) func(string) string {
	return func(s string) string { return e.EncodeToString([]byte(s)) }
}

// decoding is a filter whose input may be wrong.
func decoding(do func(string) (string, bool), of string) filter {
	return filter{0, 0, func(a arguments, in any) (any, error) {
		s, err := a.input(in)
		if err != nil || in == nil {
			return in, err
		}
		out, ok := do(s)
		if !ok || !utf8.ValidString(out) {
			return nil, failed("the value is not %s", of)
		}
		return out, a.run.budget.alloc(len(out))
	}}
}

func decodeWith(e *base64.Encoding) func(string) (string, bool) {
	return func(s string) (string, bool) {
		out, err := e.Strict().DecodeString(s)
		return string(out), err == nil && !strings.ContainsAny(s, "\r\n")
	}
}

// decodeURLSafe takes texts with and without padding.
func decodeURLSafe(s string) (string, bool) {
	return decodeWith(base64.RawURLEncoding)(strings.TrimRight(s, "="))
}

// escapeURL writes a blank as + and leaves letters, digits and -_.~ alone.
func escapeURL(s string) string {
	const hexadecimal = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c == ' ':
			b.WriteByte('+')
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-_.~", c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hexadecimal[c>>4], hexadecimal[c&15]})
		}
	}
	return b.String()
}

var percent = regexp.MustCompile(`%[0-9a-fA-F]{2}`)

// unescapeURL leaves a % alone that is followed by something else than two digits.
func unescapeURL(s string) (string, bool) {
	return percent.ReplaceAllStringFunc(strings.ReplaceAll(s, "+", " "), func(found string) string {
		const hexadecimal, bits = 16, 8
		n, err := strconv.ParseUint(found[1:], hexadecimal, bits)
		if err != nil {
			return found
		}
		return string([]byte{byte(n)})
	}), true
}
